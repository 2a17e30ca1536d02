"""Masks of detections to run lengths, against torchvision and pycocotools."""

from collections.abc import Iterator

import numpy as np
import torch
from pycocotools import mask as rle
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maskline.pasting import paste

from .harness import Figure, in_turn

DETECTIONS = 100
SIZES = {"640x480": (640, 480, 10.0), "1920x1080": (1920, 1080, 30.0)}
"""Width, height, and by how much the peer is to be beaten."""


def measure() -> Iterator[Figure]:
    """CPU time for 100 detections, one thread; the run lengths have to be equal."""
    torch.set_num_threads(1)
    for name, (width, height, target) in SIZES.items():
        masks, boxes = _detections(width, height)
        if _peer(masks, boxes, width, height) != _ours(masks, boxes, width, height):
            raise AssertionError("the run lengths differ, so there is nothing to compare")
        ours, peer = in_turn(
            lambda: _ours(masks, boxes, width, height),  # noqa: B023  # called at once
            lambda: _peer(masks, boxes, width, height),  # noqa: B023
            rounds=5,
        )
        told = f"torchvision paste > 0.5 + pycocotools encode: {1000 * peer:.0f} ms"
        yield Figure(f"pasting.{name}", peer / ours, target, "higher", told)


def _detections(width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Ellipses with soft edges, in boxes of log-normal sides (median 55 pixels, as in COCO)."""
    generator = np.random.default_rng(0)
    centre = generator.random((DETECTIONS, 2)) * [width, height]
    side = np.exp(generator.normal(4, 0.8, (DETECTIONS, 2)))
    boxes = np.concatenate([centre - side / 2, centre + side / 2], axis=1)
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    radius, squeeze = generator.uniform(0.6, 1, (2, DETECTIONS, 1, 1))
    masks = 1 / (1 + np.exp(9 * (np.hypot(x, y / squeeze) - radius)))
    return masks.astype(np.float32), boxes.clip(0, [width, height] * 2).astype(np.float32)


def _ours(masks: np.ndarray, boxes: np.ndarray, width: int, height: int) -> list[str]:
    return [one["counts"] for one in paste(masks, boxes, height, width)]


def _peer(masks: np.ndarray, boxes: np.ndarray, width: int, height: int) -> list[str]:
    soft = torch.from_numpy(masks)[:, None]
    pasted = paste_masks_in_image(soft, torch.from_numpy(boxes), (height, width))[:, 0]
    binary = (pasted > 0.5).to(torch.uint8).numpy()
    return [rle.encode(np.asfortranarray(one))["counts"].decode("ascii") for one in binary]
