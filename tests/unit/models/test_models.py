"""Every registered model, and where its weights come from."""

import uuid
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from maskline import checkpoint, storage
from maskline.errors import JobError, WeightsError
from maskline.models import MODELS, build_model, family_of, weights
from maskline.models.torchvision_weights import BACKBONES
from maskline.settings import (
    MODEL_DEFAULTS,
    MODEL_NAMES,
    PUBLISHED_WEIGHTS,
    TrainingSettings,
    complete,
    weights_wanted,
)

LIGHT = "maskrcnn_resnet18_fpn_light"


def settings(name: str = LIGHT, pretrained: str | None = "none", **more: object) -> TrainingSettings:
    advanced = {} if pretrained is None else {"advanced_settings": {"pretrained_weights": pretrained}}
    return complete({"model_name": name, "min_size": 64, "max_size": 64, **advanced, **more})


def frozen_stages(model: nn.Module) -> list[str]:
    body = model.backbone.body
    stages = ("conv1", "layer1", "layer2", "layer3", "layer4")
    return [s for s in stages if not any(p.requires_grad for p in getattr(body, s).parameters())]


def test_settings_and_registry_name_the_same_models() -> None:
    assert set(MODELS) == set(MODEL_NAMES) == set(PUBLISHED_WEIGHTS)
    assert set(BACKBONES) <= set(MODELS)
    assert set(MODEL_DEFAULTS) <= set(MODEL_NAMES)


@pytest.mark.parametrize("name", BACKBONES)
def test_trains_and_predicts(name: str) -> None:
    torch.manual_seed(0)
    model = build_model(settings(name), 2)
    target = {
        "boxes": torch.tensor([[8.0, 8.0, 40.0, 48.0]]),
        "labels": torch.tensor([2]),
        "masks": torch.ones(1, 64, 64, dtype=torch.uint8),
    }
    losses = model([torch.rand(3, 64, 64)], [target])
    assert set(losses) == {
        "loss_classifier",
        "loss_box_reg",
        "loss_mask",
        "loss_objectness",
        "loss_rpn_box_reg",
    }
    assert all(torch.isfinite(loss) for loss in losses.values())
    with torch.inference_mode():
        (found,) = model.eval()([torch.rand(3, 50, 70)])
    assert found["masks"].shape[1:] == (1, 50, 70)
    assert len(found["boxes"]) == len(found["labels"]) == len(found["scores"]) == len(found["masks"])


def test_thresholds_reach_the_model() -> None:
    model = build_model(
        settings(box_score_threshold=0.42, nms_iou_threshold=0.33, box_detections_per_image=7), 1
    )
    heads = model.roi_heads
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img) == (0.42, 0.33, 7)
    assert (model.transform.min_size, model.transform.max_size) == ((64,), 64)


@pytest.mark.parametrize("training", [True, False])
def test_which_pictures_came_first_makes_no_difference(training: bool) -> None:
    """torchvision's heads take their maps' scales from the first pictures, and from strips wrong ones."""

    def answers(*heights: int) -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = build_model(settings(min_size=64, max_size=160, box_score_threshold=0.0), 2).train(training)
        for height in heights:
            masks = torch.zeros(1, height, 160, dtype=torch.uint8)
            masks[:, 5:30, 10:60] = 1
            target = {"boxes": torch.tensor([[10.0, 5, 60, 30]]), "labels": torch.tensor([1]), "masks": masks}
            picture = torch.arange(height * 160 * 3).reshape(3, height, 160).remainder(256).byte()
            torch.manual_seed(1)
            found = model([picture], [{**target, "crowds": masks[:0]}])
        return list(found.values() if training else found[0].values())

    for seen_late, seen_first in zip(answers(40, 96), answers(96), strict=True):
        torch.testing.assert_close(seen_late, seen_first, rtol=0, atol=0)


def test_unknown_model_is_refused() -> None:
    with pytest.raises(
        JobError, match="fasterrcnn is not a registered model; choose one of maskrcnn_resnet18"
    ):
        build_model(TrainingSettings(model_name="fasterrcnn"), 1)


@pytest.mark.parametrize(
    ("layers", "pretrained", "frozen"),
    [
        (None, "none", []),
        (None, "imagenet", ["conv1", "layer1"]),
        (0, "imagenet", []),
        (1, "none", ["conv1"]),
        (3, "none", ["conv1", "layer1", "layer2"]),
        (9, "none", ["conv1", "layer1", "layer2", "layer3", "layer4"]),
    ],
)
def test_layers_to_freeze(layers: int | None, pretrained: str, frozen: list[str]) -> None:
    model = build_model(settings(pretrained=pretrained, layers_to_freeze=layers), 1)
    assert frozen_stages(model) == frozen
    assert all(p.requires_grad for p in model.backbone.fpn.parameters())
    assert model.backbone.body.bn1.weight.requires_grad is ("conv1" not in frozen and pretrained == "none")


def test_batch_statistics_are_frozen_only_with_pretrained_weights() -> None:
    norms = {nn.BatchNorm2d, FrozenBatchNorm2d}
    kinds = [
        {type(m) for m in build_model(settings(pretrained=p), 1).backbone.body.modules()} & norms
        for p in ("none", "imagenet")
    ]
    assert kinds == [{nn.BatchNorm2d}, {FrozenBatchNorm2d}]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("maskrcnn_resnet50_fpn", "coco"), ("maskrcnn_resnet34_fpn", "imagenet"), (LIGHT, "none")],
)
def test_weights_by_default(name: str, wanted: str) -> None:
    assert weights_wanted(settings(name, None)) == wanted


class TestWeights:
    def test_from_scratch_needs_none(self) -> None:
        assert weights.fetch(settings()) is None

    def test_published_weights_that_cannot_be_had(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
        with pytest.raises(WeightsError) as error:
            weights.fetch(settings("maskrcnn_resnet50_fpn", None))
        message = str(error.value)
        assert str(tmp_path / "hub/checkpoints/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth") in message
        assert "none to train from scratch" in message

    def test_published_weights_from_a_filled_cache(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        cache = tmp_path / "hub/checkpoints"
        cache.mkdir(parents=True)
        donor = build_model(settings(), 1).backbone.body.state_dict()
        torch.save(donor, cache / Path(BACKBONES[LIGHT].url).name)
        wanted = settings(pretrained="imagenet")
        model = build_model(wanted, 1)
        missing = weights.load(family_of(LIGHT), model, weights.fetch(wanted))
        assert torch.equal(model.backbone.body.layer4[1].conv2.weight, donor["layer4.1.conv2.weight"])
        assert not [name for name in missing if name.startswith("backbone.body")]
        assert "roi_heads.mask_predictor.mask_fcn_logits.weight" in missing

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_a_file_of_another_number_of_classes(self, tmp_path: Path, suffix: str) -> None:
        donor = build_model(settings(), 5).state_dict()
        file = tmp_path / f"donor{suffix}"
        save_file(donor, file) if suffix == ".safetensors" else torch.save({"model": donor}, file)
        model = build_model(settings(), 2)
        missing = weights.load(family_of(LIGHT), model, weights.fetch(settings(pretrained=file.as_uri())))
        assert missing == [
            "roi_heads.box_predictor.bbox_pred.bias",
            "roi_heads.box_predictor.bbox_pred.weight",
            "roi_heads.box_predictor.cls_score.bias",
            "roi_heads.box_predictor.cls_score.weight",
            "roi_heads.mask_predictor.mask_fcn_logits.bias",
            "roi_heads.mask_predictor.mask_fcn_logits.weight",
        ]
        assert torch.equal(model.rpn.head.cls_logits.weight, donor["rpn.head.cls_logits.weight"])

    def test_a_run_directory(self, tmp_path: Path) -> None:
        (tmp_path / "model").mkdir()
        donor = build_model(settings(), 2).state_dict()
        save_file(donor, tmp_path / "model/checkpoint.safetensors")
        found = weights.fetch(settings(checkpoint_run_id=str(tmp_path)))
        assert torch.equal(found.tensors["backbone.body.conv1.weight"], donor["backbone.body.conv1.weight"])

    def test_classes_in_common_keep_what_was_learnt_of_them(self, tmp_path: Path) -> None:
        donor = build_model(settings(), 3)
        file = tmp_path / "model/checkpoint.safetensors"
        file.parent.mkdir()
        said = checkpoint.Checkpoint({"model_name": LIGHT}, ("ant", "bee", "cat"), epoch=1)
        more = checkpoint.Training({"optimizer.0.step": torch.ones(())}, {})
        checkpoint.save(file, donor, said, more)
        model = build_model(settings(), 2)
        fresh = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        missing = weights.load(
            family_of(LIGHT), model, weights.fetch(settings(checkpoint_run_id=str(tmp_path))), ("cat", "dog")
        )
        layers = ("box_predictor.bbox_pred", "box_predictor.cls_score", "mask_predictor.mask_fcn_logits")
        assert missing == [f"roi_heads.{name}.{kind} (dog)" for name in layers for kind in ("bias", "weight")]
        heads, theirs = model.roi_heads, donor.roi_heads
        for ours, known, rows in (
            (heads.box_predictor.cls_score, theirs.box_predictor.cls_score, 1),
            (heads.box_predictor.bbox_pred, theirs.box_predictor.bbox_pred, 4),
            (heads.mask_predictor.mask_fcn_logits, theirs.mask_predictor.mask_fcn_logits, 1),
        ):
            for kind in ("weight", "bias"):
                mine, yours = getattr(ours, kind), getattr(known, kind)
                assert torch.equal(mine[:rows], yours[:rows])  # the background
                assert torch.equal(mine[rows : 2 * rows], yours[3 * rows :])  # cat: third there, first here
        name = "roi_heads.box_predictor.cls_score.weight"
        assert torch.equal(model.state_dict()[name][2], fresh[name][2])  # dog is new

    def test_the_same_classes_in_another_order(self) -> None:
        donor, model = build_model(settings(), 2), build_model(settings(), 2)
        start = weights.Start(donor.state_dict(), ("ant", "bee"))
        assert weights.load(family_of(LIGHT), model, start, ("bee", "ant")) == []
        rows = [m.roi_heads.box_predictor.cls_score.weight for m in (model, donor)]
        assert torch.equal(rows[0], rows[1][[0, 2, 1]])

    def test_no_class_in_common(self) -> None:
        start = weights.Start(build_model(settings(), 2).state_dict(), ("ant", "bee"))
        missing = weights.load(family_of(LIGHT), build_model(settings(), 2), start, ("cat", "dog"))
        assert missing == sorted(
            f"{layer}.{kind}" for layer in family_of(LIGHT).class_rows for kind in ("weight", "bias")
        )

    @pytest.mark.parametrize("place", ["model/checkpoint", "checkpoint", "best"])
    def test_a_run_at_a_uri(self, place: str) -> None:
        root, tensors = f"memory://{uuid.uuid4().hex}", build_model(settings(), 2).state_dict()
        storage.put_bytes(save(tensors), f"{root}/{place}.safetensors")
        found = weights.fetch(settings(checkpoint_run_id=root))
        assert found.classes is None
        assert torch.equal(found.tensors["rpn.head.cls_logits.weight"], tensors["rpn.head.cls_logits.weight"])

    def test_another_architecture_is_refused(self) -> None:
        other = build_model(settings("maskrcnn_resnet50_fpn"), 2).state_dict()
        foreign = {name: t for name, t in other.items() if "layer" in name and "conv3" in name}
        with pytest.raises(WeightsError, match="belong to another architecture"):
            weights.load(family_of(LIGHT), build_model(settings(), 2), weights.Start(foreign))

    def test_code_in_a_file_is_not_run(self, tmp_path: Path) -> None:
        file = tmp_path / "evil.pth"
        torch.save(_Evil(str(tmp_path / "ran")), file)
        with pytest.raises(WeightsError, match="no file of tensors alone"):
            weights.fetch(settings(pretrained=str(file)))
        assert not (tmp_path / "ran").exists()

    def test_a_missing_file_is_named(self) -> None:
        with pytest.raises(WeightsError, match=r"pretrained_weights=/no/such.pth can't be read"):
            weights.fetch(settings(pretrained="/no/such.pth"))


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, (self.path, "w")  # type: ignore[return-value]
