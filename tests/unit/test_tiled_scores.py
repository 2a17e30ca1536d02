"""What merging costs: the mask AP of a detector that makes no mistake stays 1, for objects of any size."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from maskline import rle
from maskline.merging import Merger
from maskline.metrics import coco_scores
from maskline.tiling import Tiling, Window

WIDTH, HEIGHT, PICTURES = 600, 400, 3
Objects = list[tuple[int, NDArray[np.bool_]]]
KINDS = {"small": (4, 8, 60), "medium": (20, 60, 12), "large": (90, 190, 3), "huge": (250, 390, 1)}
"""Least and greatest side of an object in pixels, and objects a picture; tiles of 3x2 have 240 x 229."""


def drawn(random: np.random.Generator, kind: str) -> Objects:
    """Discs and squares, as (label, mask), that don't touch."""
    least, most, number = KINDS[kind]
    taken = np.zeros((HEIGHT, WIDTH), dtype=bool)
    objects: Objects = []
    while len(objects) < number:
        side, label = int(random.integers(least, most + 1)), int(random.integers(1, 3))
        x, y = int(random.integers(1, WIDTH - side)), int(random.integers(1, HEIGHT - side))
        if taken[y - 1 : y + side + 1, x - 1 : x + side + 1].any():
            continue
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
        mask[y : y + side, x : x + side] = (rows**2 + columns**2 <= side**2 / 4) | (label == 2)
        taken |= mask
        objects.append((label, mask))
    return objects


def seen(objects: Objects, window: Window, random: np.random.Generator, echoes: int) -> list[dict[str, Any]]:
    """COCO results of what of the objects is in a window, as sure as chance has it, and poor echoes of it."""
    left, top, width, height = window
    results = []
    for label, whole in objects:
        mask = whole[top : top + height, left : left + width]
        if not mask.any():
            continue
        for echo in range(echoes + 1):
            shift = random.integers(2, 6, 2) if echo else (0, 0)
            score = random.uniform(0.002, 0.3) if echo else random.uniform(0.5, 1)
            results.append(found(label, score, np.roll(mask, shift, (0, 1))))
    return results


def found(label: int, score: float, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A COCO result."""
    rows, columns = np.nonzero(mask)
    low, high = (int(columns.min()), int(rows.min())), (int(columns.max()) + 1, int(rows.max()) + 1)
    box = [*low, high[0] - low[0], high[1] - low[1]]
    return {"category_id": label, "score": score, "bbox": box, "segmentation": rle.encode(mask)}


def average_precision(kind: str, tiling: Tiling, *, blind: bool = False, echoes: int = 0) -> float:
    """Mask AP of the merged answers.

    Args:
        kind: of objects.
        tiling: the grid.
        blind: the detector sees nothing on the picture as a whole.
        echoes: poor detections of low score with each right one.
    """
    annotations: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for image_id in range(1, PICTURES + 1):
        random = np.random.default_rng([len(kind), image_id])
        objects = drawn(random, kind)
        for label, mask in objects:
            result = found(label, 1, mask)
            own = {"id": len(annotations) + 1, "image_id": image_id, "iscrowd": 0, "area": int(mask.sum())}
            annotations.append({**result, **own})
        merger = Merger(WIDTH, HEIGHT, tiling, 100)
        for number, window in enumerate(merger.views):
            if number or not blind:
                merger.add(number, seen(objects, window, random, echoes))
        merged = merger.merged()
        assert echoes or len(merged) == len(objects)
        predictions += [{"image_id": image_id, **one} for one in merged]
    images = [{"id": n, "width": WIDTH, "height": HEIGHT} for n in range(1, PICTURES + 1)]
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return coco_scores(truth, predictions)["AP"]


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("overlap", [0, 0.1, 0.25])
@pytest.mark.parametrize("kind", KINDS)
def test_merging_loses_doubles_and_damages_nothing(kind: str, overlap: float, blind: bool) -> None:
    assert average_precision(kind, Tiling(3, 2, overlap), blind=blind) == pytest.approx(1)


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize("kind", ["medium", "large", "huge"])
def test_poor_detections_of_low_score_spoil_no_good_one(kind: str, blind: bool) -> None:
    assert average_precision(kind, Tiling(3, 2), blind=blind, echoes=2) > 0.99
