"""Which classes are taken for which, on masks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from hotcoco import primitives
from numpy.typing import NDArray

MOST = 100
"""How many classes have a row and a column of their own: those with the most confusions."""
BACKGROUND = "background"
OTHERS = "other classes"

Pair = tuple[int, int]
"""Category ids, labelled and predicted; NOTHING where an object is missed, or nothing is there."""
NOTHING = -1


def confused(
    objects: Sequence[Mapping[str, Any]], predictions: Sequence[Mapping[str, Any]], threshold: float
) -> list[Pair]:
    """What one picture's objects are taken for: by falling score, each prediction takes the free object that
    it overlaps most, of whatever class. What finds none is background, unless it lies on a crowd region.

    Args:
        objects: COCO annotations, masks as RLE.
        predictions: COCO results.
        threshold: mask IoU from which an object is found.
    """
    crowd = np.array([bool(thing["iscrowd"]) for thing in objects], dtype=bool)
    order = sorted(predictions, key=lambda one: -one["score"])
    overlaps = np.zeros((len(order), len(objects)))
    if order and objects:
        masks, truths = ([one["segmentation"] for one in group] for group in (order, objects))
        overlaps = np.asarray(primitives.mask_iou(masks, truths, crowd.tolist()))
    free = ~crowd
    pairs = []
    for one, row in zip(order, overlaps, strict=True):
        single = np.where(free, row, -1.0)
        best = int(single.argmax()) if len(row) else -1
        if best >= 0 and single[best] >= threshold:
            pairs.append((objects[best]["category_id"], one["category_id"]))
            free[best] = False
        elif not (row[crowd] >= threshold).any():
            pairs.append((NOTHING, one["category_id"]))
    return pairs + [(objects[index]["category_id"], NOTHING) for index in np.flatnonzero(free).tolist()]


def matrix(pairs: Sequence[Pair], names: Mapping[int, str]) -> dict[str, Any]:
    """The confusion matrix of all pictures.

    Args:
        pairs: of all pictures.
        names: of the classes by category id.

    Returns:
        labels: the classes, at most MOST of them; OTHERS where there are more; BACKGROUND. matrix: counts, a
        row for what is labelled, a column for what is predicted.
    """
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    chosen = _chosen(found, list(names))
    labels = [names[number] for number in chosen]
    if len(chosen) < len(names):
        labels.append(OTHERS)
    places = np.searchsorted(chosen, found)
    known = np.isin(found, chosen)
    places = np.where(known, places, np.where(found == NOTHING, len(labels), len(chosen)))
    counts = np.zeros((len(labels) + 1, len(labels) + 1), dtype=np.int64)
    np.add.at(counts, (places[:, 0], places[:, 1]), 1)
    return {"labels": [*labels, BACKGROUND], "matrix": counts.tolist()}


def _chosen(found: NDArray[np.int64], classes: list[int]) -> list[int]:
    """The classes with the most confusions, ascending."""
    if len(classes) <= MOST:
        return classes
    wrong = found[found[:, 0] != found[:, 1]]
    counts = np.bincount(np.searchsorted(classes, wrong[wrong != NOTHING]), minlength=len(classes))
    return [classes[place] for place in np.sort(np.argsort(-counts, kind="stable")[:MOST])]
