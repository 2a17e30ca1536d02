"""rfdetr_seg, small, at its published 384 pixels, against transformers' model called directly."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers.loss.loss_rf_detr import RfDetrForSegmentationLoss

from maskline.models import build_model
from maskline.models.rfdetr import prepared
from maskline.models.rfdetr_loss import weighted_losses
from maskline.settings import complete

from .harness import Figure, in_turn

SETTINGS = {
    "model_name": "rfdetr_seg",
    "model_size": "small",
    "advanced_settings": {"pretrained_weights": "none"},
}
SIDE, OBJECTS, TARGET = 384, 6, 1.05


def measure() -> Iterator[Figure]:
    """CPU time, one thread. Ours takes pictures as the data path gives them, theirs what is ready for it."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model: Any = build_model(complete(SETTINGS), 3)
    yield from (_step(model), _inference(model))


def _step(model: Any) -> Figure:
    picture, target, labels = _example()
    pixels = prepared(picture, SIDE)[None]
    model.train()

    def ours() -> float:
        torch.manual_seed(2)  # of the points that masks are compared at
        model.zero_grad()
        model.network.loss_function = weighted_losses
        return _backward(torch.stack(list(model([picture], [target]).values())).sum())

    def theirs() -> float:
        torch.manual_seed(2)
        model.zero_grad()
        model.network.loss_function = RfDetrForSegmentationLoss
        return _backward(model.network(pixels, labels=[labels]).loss)

    if abs(ours() / theirs() - 1) > 1e-4:
        raise AssertionError("the losses differ, so there is nothing to compare")
    one, other = in_turn(ours, theirs, rounds=5)
    told = f"transformers' forward with its loss, and backward, of one picture: {other:.1f} s"
    return Figure("rfdetr.step", one / other, TARGET, "lower", told)


def _inference(model: Any) -> Figure:
    photo = torch.randint(0, 255, (3, 480, 640), dtype=torch.uint8)
    pixels = prepared(photo, SIDE)[None]
    model.eval()
    with torch.inference_mode():
        one, other = in_turn(lambda: model([photo]), lambda: model.network(pixels), rounds=9)
    told = f"transformers' network alone: {1000 * other:.0f} ms"
    return Figure("rfdetr.inference", one / other, TARGET, "lower", told)


def _backward(loss: Tensor) -> float:
    loss.backward()  # type: ignore[no-untyped-call]
    return loss.item()


def _example() -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """A picture with rectangles; the target in torchvision's form, and in that of transformers."""
    torch.manual_seed(1)
    picture = torch.randint(0, 255, (3, SIDE, SIDE), dtype=torch.uint8)
    corner = torch.randint(0, 200, (OBJECTS, 2))
    boxes = torch.cat([corner, corner + torch.randint(40, 180, (OBJECTS, 2))], dim=1)
    masks = torch.zeros(OBJECTS, SIDE, SIDE, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.tolist(), strict=True):
        mask[y1:y2, x1:x2] = 1
    classes = torch.arange(OBJECTS) % 3
    shares = boxes.float() / SIDE
    centred = torch.cat([(shares[:, :2] + shares[:, 2:]) / 2, shares[:, 2:] - shares[:, :2]], dim=1)
    target = {"boxes": boxes.float(), "labels": classes + 1, "masks": masks}
    return picture, target, {"boxes": centred, "class_labels": classes, "masks": masks.float()}
