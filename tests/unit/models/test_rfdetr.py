"""RF-DETR: its settings have the effect they promise, its loss is transformers', its weights are read."""

import importlib.util
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from maskline import rle
from maskline.checkpoint import Checkpoint, save
from maskline.errors import JobError, WeightsError
from maskline.families import SQUARES, notes, published_file
from maskline.models import build_model, family_of, weights
from maskline.settings import complete, obstacles

pytest.importorskip("transformers")
FAMILY = family_of("rfdetr_seg")
RFDETR = {"model_name": "rfdetr_seg"}
MASK_RCNN = {"model_name": "maskrcnn_resnet50_fpn"}
Target = dict[str, Tensor]


def built(chosen: dict[str, Any], classes: int = 2, **more: Any) -> Any:
    torch.manual_seed(0)
    return build_model(complete({**chosen, **more}), classes)


def target(objects: int = 1, side: int = 120) -> Target:
    masks = torch.zeros(objects, side, side, dtype=torch.uint8)
    for place, mask in enumerate(masks):
        mask[20 + 10 * place : 60 + 10 * place, 30:100] = 1
    boxes = torch.tensor([[30.0, 20.0 + 10 * place, 100.0, 60.0 + 10 * place] for place in range(objects)])
    return {"boxes": boxes.reshape(-1, 4), "labels": torch.ones(objects, dtype=torch.int64), "masks": masks}


@pytest.mark.parametrize(
    ("chosen", "side", "queries"),
    [
        ({}, 432, 200),
        ({"model_size": "none"}, 432, 200),
        ({"model_size": "small"}, 384, 100),
        ({"model_size": "large"}, 504, 200),
        ({"model_size": "extra_large"}, 624, 300),
        ({"model_size": "small", "image_size": 500}, 504, 100),
    ],
)
def test_the_size_is_a_square(chosen: dict, side: int, queries: int) -> None:
    settings = complete({**RFDETR, **chosen})
    assert obstacles(settings) == []
    assert FAMILY.size((640, 200), settings) == (side, side)
    assert FAMILY.inference(settings)["image_size"] == side
    assert SQUARES[FAMILY.inference(settings)["model_size"]].queries == queries


def test_rounding_is_said() -> None:
    assert notes(complete({**RFDETR, "image_size": 500})) == [
        "image_size=500 is rounded to 504: a multiple of 24"
    ]
    assert notes(complete({**RFDETR, "image_size": 504})) == notes(complete(RFDETR)) == []
    assert notes(complete(MASK_RCNN)) == []


@pytest.mark.parametrize(
    ("chosen", "line"),
    [
        ({**MASK_RCNN, "model_size": "small"}, "model_size belongs to one-stage models"),
        ({**MASK_RCNN, "image_size": 640}, "image_size belongs to one-stage models"),
        ({**MASK_RCNN, "multi_scale": True}, "multi_scale belongs to one-stage models"),
        ({**RFDETR, "min_size": 600}, "min_size belongs to Mask R-CNN"),
        ({**RFDETR, "max_size": 1333}, "max_size belongs to Mask R-CNN"),
        ({**RFDETR, "nms_iou_threshold": 0.5}, "nms_iou_threshold belongs to Mask R-CNN"),
        ({**RFDETR, "image_size": 120}, "image_size=120 is too small for model_size=medium"),
        (
            {**RFDETR, "advanced_settings": {"pretrained_weights": "imagenet"}},
            "none are published for rfdetr",
        ),
        (
            {**RFDETR, "advanced_settings": {"onnx_precision": "int8"}},
            "advanced_settings.onnx_precision=int8 is not to be had for model_name=rfdetr_seg",
        ),
    ],
)
def test_what_has_no_meaning_for_a_family_is_refused(chosen: dict, line: str) -> None:
    (found,) = obstacles(complete(chosen))
    assert line in found


@pytest.mark.parametrize("value", [{"multi_scale": False}, {"model_size": "none"}])
def test_what_asks_for_nothing_is_kept(value: dict) -> None:
    assert obstacles(complete({**MASK_RCNN, **value})) == []


def test_each_batch_has_its_own_side_with_multi_scale_and_validation_none(tiny_rfdetr: dict) -> None:
    model = built(tiny_rfdetr, image_size=240, multi_scale=True).train()
    sides: list[int] = []
    model.network.register_forward_pre_hook(
        lambda _, given, __: sides.append(given[0].shape[-1]), with_kwargs=True
    )
    model.network.loss_function = lambda *_: (None, {}, None)
    for seed in [*range(20), 0]:
        torch.manual_seed(seed)
        model([torch.zeros(3, 240, 240)], [target(side=240)])
    assert set(sides) <= set(range(120, 361, 24))
    assert len(set(sides)) > 5
    assert sides[0] == sides[-1]  # of the seed alone
    with torch.no_grad():
        model([torch.zeros(3, 240, 240)], [target(side=240)])
    assert sides[-1] == 240
    model = built(tiny_rfdetr, image_size=240).train()
    assert model._training_side() == 240


def test_the_backbone_is_compiled_for_its_side(tiny_rfdetr: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether torch can is seen on a made-up backend, which takes no minutes."""
    model = built(tiny_rfdetr).train()
    compiled = []
    compile_it = torch.compile

    def with_backend(function: Any, **named: Any) -> Any:
        compiled.append(function)
        return compile_it(function, backend="aot_eager", **named)

    monkeypatch.setattr(torch, "compile", with_backend)
    torch.manual_seed(0)
    before = sum(model([torch.ones(3, 120, 120)], [target(1)]).values()).item()
    FAMILY.compile(model)
    torch.manual_seed(0)
    after = sum(model([torch.ones(3, 120, 120)], [target(1)]).values()).item()
    assert [function.__self__ for function in compiled] == [FAMILY.backbone(model)]
    assert after == pytest.approx(before, rel=1e-4)


def test_the_loss_is_that_of_transformers(tiny_rfdetr: dict) -> None:
    model = built(tiny_rfdetr).train()
    pictures = [torch.rand(3, 120, 120), torch.rand(3, 120, 120)]
    targets = [target(2), target(1)]
    torch.manual_seed(1)
    ours = model(pictures, targets)
    labels = [
        {
            "class_labels": one["labels"] - 1,
            "boxes": torch.stack(
                [
                    (one["boxes"][:, 0] + one["boxes"][:, 2]) / 240,
                    (one["boxes"][:, 1] + one["boxes"][:, 3]) / 240,
                    (one["boxes"][:, 2] - one["boxes"][:, 0]) / 120,
                    (one["boxes"][:, 3] - one["boxes"][:, 1]) / 120,
                ],
                dim=1,
            ),
            "masks": one["masks"].float(),
        }
        for one in targets
    ]
    from transformers.loss.loss_rf_detr import RfDetrForSegmentationLoss

    mean, deviation = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    model.network.loss_function = RfDetrForSegmentationLoss
    torch.manual_seed(1)
    theirs = model.network((torch.stack(pictures) - mean) / deviation, labels=labels).loss
    assert sum(ours.values()).item() == pytest.approx(theirs.item(), rel=1e-5)


def test_what_lies_on_a_crowd_region_is_not_background(tiny_rfdetr: dict) -> None:
    model = built(tiny_rfdetr).train()
    picture = torch.rand(3, 120, 120)
    nothing = target(0)
    crowd = {**nothing, "crowds": torch.ones(1, 120, 120, dtype=torch.uint8)}
    losses = []
    for one in (nothing, crowd):
        torch.manual_seed(0)
        losses.append(sum(model([picture], [one]).values()).item())
    assert losses[0] > 0
    assert losses[1] == 0
    here = {**target(1), "crowds": crowd["crowds"]}
    assert sum(model([picture], [here]).values()).item() > 1  # the object is learnt all the same


def test_a_diverged_answer_gives_no_number(tiny_rfdetr: dict) -> None:
    model = built(tiny_rfdetr).train()
    with torch.no_grad():
        model.network.model.bbox_embed.layers[-1].weight.fill_(math.nan)
    assert math.isnan(sum(model([torch.rand(3, 120, 120)], [target(1)]).values()).item())


def test_run_lengths_are_of_the_masks_at_the_size_of_the_picture(tiny_rfdetr: dict) -> None:
    model = built(tiny_rfdetr, box_detections_per_image=20).eval()
    picture = torch.rand(3, 90, 140)
    with torch.inference_mode(), FAMILY.reporting(model, 0.0):
        (whole,) = model([picture])
    with torch.inference_mode(), FAMILY.reporting(model, 0.0, small_masks=True):
        (small,) = model([picture])
    found = FAMILY.results(small, 7, 90, 140, 0.45)
    assert len(found) == 20
    assert {one["image_id"] for one in found} == {7}
    for one, mask in zip(found, whole["masks"], strict=True):
        assert np.array_equal(rle.decode(one["segmentation"]), (mask[0] > 0.45).numpy())
    assert model.score_threshold == pytest.approx(0.3)
    assert not model.small_masks


class TestWeights:
    def test_a_folder_of_transformers_model(self, tiny_rfdetr: dict, tmp_path: Path) -> None:
        """transformers keeps a model under the names of its publishers, as the published files have them."""
        donor = built(tiny_rfdetr, classes=5)
        donor.network.save_pretrained(tmp_path)
        names = set(weights.load_safetensors((tmp_path / "model.safetensors").read_bytes()))
        assert any(name.startswith("backbone.0.") for name in names)
        chosen = {**tiny_rfdetr, "advanced_settings": {"pretrained_weights": str(tmp_path)}}
        start = weights.fetch(complete(chosen))
        assert start is not None
        torch.manual_seed(3)
        model = build_model(complete(chosen), 2)
        missing = weights.load(FAMILY, model, start)
        heads = {f"{layer}.{kind}" for layer in FAMILY.class_rows for kind in ("weight", "bias")}
        assert set(missing) == heads & set(model.state_dict())
        theirs = donor.state_dict()
        assert all(
            torch.equal(t, theirs[name]) for name, t in model.state_dict().items() if name not in missing
        )

    def test_another_size_is_refused(self, tiny_rfdetr: dict) -> None:
        model = built(tiny_rfdetr)
        foreign = {"network.model.class_embed.bias": torch.zeros(2), "conv1.weight": torch.zeros(64, 3, 7, 7)}
        with pytest.raises(WeightsError, match="belong to another architecture"):
            weights.load(FAMILY, model, weights.Start(foreign))

    def test_classes_in_common_keep_what_was_learnt_of_them(self, tiny_rfdetr: dict, tmp_path: Path) -> None:
        donor = built(tiny_rfdetr, classes=3)
        save(tmp_path / "donor.safetensors", donor, Checkpoint(tiny_rfdetr, ("ant", "bee", "cat"), epoch=1))
        torch.manual_seed(4)
        chosen = {
            **tiny_rfdetr,
            "advanced_settings": {},
            "checkpoint_run_id": str(tmp_path / "donor.safetensors"),
        }
        model = build_model(complete(chosen), 2)
        missing = weights.load(FAMILY, model, weights.fetch(complete(chosen)), ("cat", "dog"))
        assert all(name.endswith(" (dog)") for name in missing)
        mine, yours = (m.network.model.class_embed.weight for m in (model, donor))
        assert torch.equal(mine[0], yours[2])

    def test_published_weights_that_cannot_be_had(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        with pytest.raises(WeightsError) as error:
            weights.fetch(complete({**RFDETR, "model_size": "extra_large"}))
        message = str(error.value)
        assert str(published_file("extra_large").parents[1]) == torch.hub.get_dir()
        assert str(tmp_path / "hub/checkpoints/rf-detr-seg-xlarge.safetensors") in message
        assert "none to train from scratch" in message


def test_without_the_extra_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        JobError, match=r"needs onnxscript, scipy, transformers; pip install 'maskline\[rfdetr\]'"
    ):
        build_model(complete(RFDETR), 2)
