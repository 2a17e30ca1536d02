"""Masks come back from their packed form to the bit, and a network learns the same from it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import project_masks_on_boxes

from maskline.components.sweep_trial.gradients import LOSS, losses_of
from maskline.components.sweep_trial.precision import Precision
from maskline.dataset import PreparedDataset
from maskline.models import build_model
from maskline.packed_masks import PackedMasks, dense
from maskline.settings import complete
from maskline.training_data import TrainingDataset


def blobs(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Rectangles of noise anywhere, and a mask with nothing in it as the last."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, height, width, dtype=torch.uint8)
    for mask in masks[:-1]:
        top, left = (int(torch.randint(side, (), generator=generator)) for side in (height, width))
        part = mask[top : top + height // 3 + 1, left : left + width // 3 + 1]
        part.copy_(torch.randint(2, part.shape, generator=generator))
    return masks


@pytest.mark.parametrize(
    ("count", "height", "width"), [(0, 5, 9), (1, 1, 1), (3, 1, 17), (6, 40, 8), (9, 33, 61), (4, 7, 1)]
)
def test_masks_come_back_to_the_bit(count: int, height: int, width: int) -> None:
    for masks in (blobs(count, height, width), torch.ones(count, height, width, dtype=torch.uint8)):
        packed = PackedMasks.of(masks)
        assert len(packed) == count
        assert torch.equal(packed.dense(), masks)
        assert torch.equal(dense(packed), dense(masks))


def test_they_are_as_small_as_the_objects() -> None:
    masks = torch.zeros(50, 800, 1066, dtype=torch.uint8)
    masks[:, 100:140, 200:240] = 1
    assert PackedMasks.of(masks).bits.nbytes == 50 * 40 * 40 // 8


def test_torchvision_learns_from_them_as_from_tensors() -> None:
    masks = blobs(5, 48, 64)
    boxes = torch.tensor([[0.0, 0, 40, 30], [10.5, 3, 60, 47], [2, 2, 9, 9]])
    matched = torch.tensor([0, 3, 1])
    packed = PackedMasks.of(masks).to(torch.device("cpu"))
    expected = project_masks_on_boxes(masks, boxes, matched, 28)
    assert expected.any()
    assert torch.equal(project_masks_on_boxes(packed, boxes, matched, 28), expected)


def test_a_training_step_is_the_same_to_the_bit(tiny_prepared: Path) -> None:
    settings = complete({"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 48, "max_size": 64})
    data = PreparedDataset.read(tiny_prepared)
    dataset = TrainingDataset(data.coco("train"), settings, augment=True)
    model = build_model(settings, len(data.classes)).train()
    found = []
    for samples in ([dataset[0], dataset[1]], dataset.__getitems__([0, 1])):
        torch.manual_seed(1)
        model.zero_grad()
        pictures, targets = zip(*samples, strict=True)
        precision = Precision(torch.float32, torch.device("cpu"))
        losses = losses_of(model, list(pictures), list(targets), precision)
        losses[LOSS].backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        found.append({**{n: loss.detach() for n, loss in losses.items()}, **gradients})
    plain, packed = found
    assert plain["loss_mask"] > 0
    assert plain.keys() == packed.keys()
    assert all(torch.equal(plain[name], packed[name]) for name in plain)
