"""What every registered model keeps to; a model that doesn't is not to be registered.

Export and parity are in onnx_export/test_every_model.py, for the same names.
"""

from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor, nn

from maskline import checkpoint, rle
from maskline.checkpoint import Checkpoint
from maskline.loading import collate
from maskline.models import MODELS, build_model, family_of
from maskline.prediction import predict
from maskline.settings import complete
from maskline.training_data import TrainingDataset

SIDE = 96
QUICK = ("maskrcnn_resnet18_fpn_light", "rfdetr_seg")  # the others cost some ten times as much: -m slow
NAMES = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in MODELS]
Target = dict[str, Tensor]

pytestmark = [pytest.mark.parametrize("name", NAMES), pytest.mark.usefixtures("tiny_rfdetr")]
SMALL = {"rfdetr_seg": {"model_size": "small", "image_size": 120}}
STEPS = {"rfdetr_seg": 36}
"""What a model takes to learn one picture, where that is more than 12: a transformer begins slowly."""


def built(name: str, **more: object) -> tuple[nn.Module, dict[str, object]]:
    chosen = {
        "model_name": name,
        **SMALL.get(name, {"min_size": SIDE, "max_size": SIDE}),
        "advanced_settings": '{"pretrained_weights": "none"}',
        **more,
    }
    torch.manual_seed(0)
    return build_model(complete(chosen), 2), chosen


def example(objects: int) -> tuple[Tensor, Target]:
    """A dark picture with so many bright squares, 1 or none."""
    picture = torch.full((3, SIDE, SIDE), 40, dtype=torch.uint8)
    masks = torch.zeros(objects, SIDE, SIDE, dtype=torch.uint8)
    picture[:, 24:72, 32:80] = 220 if objects else 40
    masks[:, 24:72, 32:80] = 1
    boxes = torch.tensor([[32.0, 24.0, 80.0, 72.0]] * objects).reshape(-1, 4)
    labels = torch.full((objects,), 2)
    return picture, {
        "boxes": boxes,
        "labels": labels,
        "masks": masks,
        "crowds": torch.zeros(0, SIDE, SIDE, dtype=torch.uint8),
    }


@pytest.mark.parametrize("objects", [[1], [0], [1, 0]])
def test_losses_and_statistics_are_numbers(name: str, objects: list[int]) -> None:
    model, _ = built(name)
    pictures, targets = zip(*(example(count) for count in objects), strict=True)
    loss = sum(model.train()(list(pictures), list(targets)).values())
    loss.backward()
    assert torch.isfinite(loss)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert all(b.isfinite().all() for b in model.buffers())


@pytest.mark.parametrize("side", [1, 16, 32])
def test_a_tiny_picture_alone_trains(name: str, side: int) -> None:
    model, _ = built(name)
    target = {**example(1)[1], "boxes": torch.tensor([[0.0, 0.0, side, side]])}
    target |= {key: torch.ones(1, side, side, dtype=torch.uint8) for key in ("masks", "crowds")}
    losses = model.train()([torch.full((3, side, side), 40, dtype=torch.uint8)], [target])
    assert torch.isfinite(sum(losses.values()))


def test_one_picture_is_learnt(name: str) -> None:
    model, _ = built(name)
    picture, target = example(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    losses = []
    for _ in range(STEPS.get(name, 12)):
        optimizer.zero_grad()
        torch.manual_seed(0)
        loss = sum(model.train()([picture], [target]).values())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses[-3:]) < losses[0] / 2


def test_a_checkpoint_gives_the_same_answers(name: str, tmp_path: Path) -> None:
    model, chosen = built(name, box_score_threshold=0.0)
    checkpoint.save(tmp_path / "a.safetensors", model, Checkpoint(chosen, ("a", "b"), 1))
    again, _ = checkpoint.restore(tmp_path / "a.safetensors")
    picture = torch.rand(3, 50, 70)
    with torch.inference_mode():
        (one,), (other,) = model.eval()([picture]), again([picture])
    assert set(one) == {"boxes", "labels", "scores", "masks"}
    assert len(one["scores"])
    assert all(torch.equal(one[key], other[key]) for key in one)
    assert one["masks"].shape == (len(one["scores"]), 1, 50, 70)


def test_thresholds_limit_the_answers(name: str) -> None:
    picture = torch.rand(3, SIDE, SIDE)
    with torch.inference_mode():
        (few,) = built(name, box_score_threshold=0.0, box_detections_per_image=3)[0].eval()([picture])
        (none,) = built(name, box_score_threshold=1.0)[0].eval()([picture])
    assert 0 < len(few["scores"]) <= 3
    assert not len(none["scores"])
    assert none["masks"].shape == (0, 1, SIDE, SIDE)


def test_tiles_are_trained_on_and_predicted_on(name: str, tmp_path: Path) -> None:
    model, chosen = built(name, tile_grid_size="2x2", box_detections_per_image=9, number_of_workers=0)
    pixels = torch.full((60, 90, 3), 40, dtype=torch.uint8).numpy()
    pixels[5:22, 5:60] = 220
    Image.fromarray(pixels).save(tmp_path / "a.png")
    instance = {"category_id": 1, "bbox": [5, 5, 55, 17], "segmentation": rle.encode(pixels[..., 0] > 99)}
    image = {"id": 1, "file_name": str(tmp_path / "a.png"), "width": 90, "height": 60}
    coco = {"images": [image], "annotations": [{"id": 1, "image_id": 1, **instance}]}
    data = TrainingDataset(coco, complete(chosen))
    assert len(data) == 3  # the whole, and the two tiles above
    sum(model.train()(*collate([data[index] for index in range(3)])).values()).backward()
    torch.optim.SGD((p for p in model.parameters() if p.grad is not None), lr=1e-3).step()
    shown = []
    model.register_forward_pre_hook(lambda _, views: shown.extend(view.shape[:0:-1] for view in views[0]))
    found = predict(model, coco, complete(chosen), device=torch.device("cpu"))
    assert shown == [(90, 60), *[(51, 34)] * 4]
    assert 0 < len(found) <= 9
    assert all(one["segmentation"]["size"] == [60, 90] for one in found)
    assert all(x > -1 and y > -1 and x + w < 91 and y + h < 61 for x, y, w, h in (o["bbox"] for o in found))


def test_frozen_stages_stay_as_they_are(name: str) -> None:
    model, _ = built(name, layers_to_freeze=13, advanced_settings='{"pretrained_weights": "imagenet"}')
    backbone = family_of(name).backbone(model)
    body = getattr(backbone, "body", backbone)
    before = {key: tensor.clone() for key, tensor in body.state_dict().items()}
    sum(model.train()(*([one] for one in example(1))).values()).backward()
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1).step()
    assert all(torch.equal(before[key], tensor) for key, tensor in body.state_dict().items())
    assert any(p.grad is not None for p in model.parameters())


def test_tensors_have_torchvisions_names(name: str) -> None:
    theirs = getattr(torchvision.models.detection, name, None)
    if theirs is None:
        pytest.skip("torchvision has no such detector")
    state = theirs(weights=None, weights_backbone=None, num_classes=3).state_dict()
    own = built(name)[0].state_dict()
    tracked = "num_batches_tracked"  # frozen normalisation counts none
    assert {k: v.shape for k, v in own.items() if tracked not in k} == {
        k: v.shape for k, v in state.items() if tracked not in k
    }
