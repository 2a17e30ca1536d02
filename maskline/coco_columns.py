"""What hotcoco has read, as columns; and whether predictions fit the ground truth."""

import gc
import math
import mmap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hotcoco import COCO
from hotcoco import mask as rle
from numpy.typing import NDArray

from .coco_forms import Predictions
from .errors import DataError
from .verdicts import Objects

Record = Mapping[str, Any]

RECORDS_AT_ONCE = 1000
RESULT = itemgetter("image_id", "category_id", "score", "area")
ANNOTATION = itemgetter("id", "image_id", "category_id", "area", "iscrowd")
IMAGE, BOX, SIZE = itemgetter("image_id"), itemgetter("bbox"), itemgetter("size")
LISTED = 5
"""How many wrong records an error lists."""


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection for a while: many small records without cycles set it off again and again."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def check(
    predictions: Iterable[Record], sizes: Mapping[int, list[int]], classes: Collection[int], start: int = 0
) -> None:
    """Refuse what pycocotools would drop, mistake or die of, with its place in the list.

    Args:
        predictions: COCO results.
        sizes: [height, width] of the pictures by id.
        classes: ids of the categories.
        start: place of the first of these predictions.

    Raises:
        DataError: lists the first LISTED that are wrong.
    """
    known = set(classes)
    problems = []
    count = start
    for place, found in enumerate(predictions, start):
        count += 1
        image, mask = found["image_id"], found.get("segmentation")
        if image not in sizes:
            problems.append(f"prediction {place}: image_id={image} is not in the ground truth")
        elif found["category_id"] not in known:
            problems.append(
                f"prediction {place}: category_id={found['category_id']} is not in the ground truth"
            )
        elif not math.isfinite(found["score"]):
            problems.append(f"prediction {place}: score={found['score']} is not a number")
        elif mask is None and found.get("bbox") is None:
            problems.append(f"prediction {place}: segmentation is missing, and bbox too")
        elif isinstance(mask, Mapping) and list(mask["size"]) != sizes[image]:
            problems.append(
                f"prediction {place}: mask of size {list(mask['size'])} on image_id={image} "
                f"of size {sizes[image]} (height, width)"
            )
    if problems:
        raise refusal(problems, count)


def refusal(problems: Sequence[str], count: int) -> DataError:
    """The error that lists the first of these problems."""
    more = len(problems) - LISTED
    listed = [*problems[:LISTED], *([f"and {more} more"] if more > 0 else [])]
    return DataError(
        f"{len(problems)} of {count} predictions don't fit the ground truth; "
        f"score them against the data they were made from: {'; '.join(listed)}"
    )


def records(loaded: COCO, ids: Sequence[int] | None = None) -> Iterator[list[dict[str, Any]]]:
    """Records by their ids, or all, some at a time."""
    ids = loaded.get_ann_ids() if ids is None else ids
    for start in range(0, len(ids), RECORDS_AT_ONCE):
        yield loaded.load_anns(ids[start : start + RECORDS_AT_ONCE])


def _numbers(rows: Iterable[Iterable[float]], width: int = 4) -> NDArray[np.float64]:
    """(n, width); several times faster than numpy's own reading of lists of lists."""
    return np.fromiter(chain.from_iterable(rows), dtype=np.float64).reshape(-1, width)


def result_columns(
    found: COCO, predictions: Predictions | Path, sizes: Mapping[int, list[int]], classes: Collection[int]
) -> NDArray[np.float64]:
    """(n, 10): image_id, category_id, score, whether there is a mask, the areas of mask and box, and the
    mask's box.

    As in `COCO.loadRes`, a box that was made from a mask has the mask's area. Files are checked here.
    """
    boxed = _boxed(predictions, len(found.get_ann_ids()))
    known = set(classes)
    parts = [np.zeros((0, 10))]
    start = 0
    for part in records(found):
        masks: list[Any] = [record.get("segmentation") for record in part]
        masked = [type(mask) is dict for mask in masks]
        columns = _numbers(map(RESULT, part))
        if not all(masked) or not _fit(part, masks, sizes) or not known.issuperset(columns[:, 1].tolist()):
            check(part, sizes, classes, start)
        areas, box_areas = columns[:, 3], columns[:, 3]
        boxes = _numbers(map(BOX, part))
        if boxed is not None:
            box_areas, own, areas = boxes[:, 2] * boxes[:, 3], np.array(masked), np.zeros(len(part))
            there = [mask for mask in masks if type(mask) is dict]
            boxes = np.zeros((len(part), 4))
            areas[own], boxes[own] = rle.area(there), rle.to_bbox(there).reshape(-1, 4)
            if boxed is not True:
                box_areas = np.where(boxed[start : start + len(part)], box_areas, areas)
        parts.append(np.column_stack([columns[:, :3], masked, areas, box_areas, boxes]))
        start += len(part)
    return np.concatenate(parts)


def _fit(part: Sequence[Record], masks: Iterable[Any], sizes: Mapping[int, list[int]]) -> bool:
    """Whether all masks are of their picture's size."""
    try:
        return list(map(SIZE, masks)) == list(map(sizes.__getitem__, map(IMAGE, part)))
    except KeyError:
        return False


def _boxed(predictions: Predictions | Path, count: int) -> list[bool] | Literal[True] | None:
    """Which of so many predictions came with a box: all, these, or none."""
    if not isinstance(predictions, Path):
        given = [found.get("bbox") is not None for found in predictions]
        return given if any(given) else None
    with predictions.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        boxes, place = 0, text.find(b'"bbox"')
        while place >= 0:
            boxes, place = boxes + 1, text.find(b'"bbox"', place + 1)
    if boxes not in (0, count):
        raise DataError(
            f"{predictions} has a bbox in {boxes} of its {count} records; give all of them one, or none"
        )
    return True if boxes else None


def objects_of(truth: COCO, images: list[int]) -> Objects:
    """The objects on these pictures.

    Raises:
        DataError: one has no area or no box.
    """
    parts = [np.zeros((0, 10))]
    ids = truth.get_ann_ids() if len(images) == len(truth.imgs) else truth.get_ann_ids(img_ids=images)
    for part in records(truth, ids):
        try:
            columns = _numbers(map(ANNOTATION, part), 5)
            boxes = _numbers(map(BOX, part))
        except KeyError as error:
            raise DataError("an annotation has no area or no bbox; COCO's instances have both") from error
        difficult = [bool(annotation.get("difficult")) for annotation in part]
        parts.append(np.column_stack([columns, difficult, boxes]))
    table = np.concatenate(parts)
    number, image, category = table[:, :3].astype(np.int64).T
    crowd = table[:, 4] > 0
    return Objects(number, image, category, table[:, 3], ~crowd, crowd, table[:, 5] > 0, table[:, 6:])
