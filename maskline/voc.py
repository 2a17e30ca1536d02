"""PASCAL VOC's scores, on masks.

How a detection is matched is the VOC development kit's rule (VOC2010 and later, VOCevaldet.m): within a
class, detections are taken by falling score; each looks at the one object of its picture that it overlaps
most. Overlap at or above the threshold is a hit if that object is still free, and a false positive if it
is taken: there is no second-best search, unlike COCO's. Objects marked `difficult` are neither hits nor
misses. VOC has no crowd regions; one is asked only when no object reaches the threshold, by the share of
the detection that lies inside it, as in COCO, and then the detection doesn't count either way.

Azure ML's rule (`voc_matching: azure`) differs for crowd regions: they compete with the objects, so that a
detection which lies inside one more than it overlaps its object doesn't count.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hotcoco import primitives
from numpy.typing import NDArray

from .coco_columns import uncollected
from .scoring import Scoring
from .verdicts import FALSE, HIT, IGNORED, Objects, Verdicts, curve

UNDEFINED = -1.0
"""What a mean over nothing is, in VOC's numbers as in COCO's."""
MOST = 100
"""How many detections of a class in a picture COCO's matching looks at."""
MARGIN = 2.0
"""Pixels by which an annotated box may miss its mask."""
PAIRS = 500_000
"""How many pairs of a detection and an object are looked at in one go."""
ROUNDING = 1e-9

Matching = Literal["voc", "azure"]


@dataclass(frozen=True)
class VocClass:
    """One class: AP, precision and recall in 0 ... 1, or None where the number is undefined."""

    average_precision: float | None
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class VocScores:
    """VOC's numbers: means over the classes in which they are defined, or -1 where none is.

    Attributes:
        mean_average_precision: mean of the areas under the precision-recall curves, at all points.
        precision: mean share of hits among the detections that count.
        recall: mean share of objects that were found.
        classes: by class name; classes without objects and without detections are left out.
    """

    mean_average_precision: float
    precision: float
    recall: float
    classes: dict[str, VocClass]


def voc_scores(
    ground_truth: Mapping[str, Any] | Path,
    predictions: Sequence[Mapping[str, Any]] | Path,
    iou_threshold: float = 0.5,
    *,
    matching: Matching = "voc",
    images: Collection[int] | None = None,
) -> VocScores:
    """Mean average precision, precision and recall of masks, at one IoU threshold.

    A class without objects has no AP and no recall; one without detections has AP 0, recall 0 and no
    precision. Undefined numbers stay out of the means. Precision and recall are those of all detections
    handed in, the last point of the curve.

    Args:
        ground_truth: COCO dictionary or file; `iscrowd` and `difficult` objects don't count.
        predictions: COCO results with `segmentation`, or a file; every one counts, whatever its score.
        iou_threshold: mask IoU from which a detection is a hit, 0 to 1.
        matching: VOC's rule, or Azure ML's.
        images: ids of the pictures that count; None for all.
    """
    scoring = Scoring(ground_truth, predictions, images)
    return summarize(voc_verdicts(scoring, iou_threshold, matching), scoring.names)


def summarize(verdicts: Verdicts, names: Mapping[int, str]) -> VocScores:
    """The numbers that follow from `voc_verdicts`; names of the classes by category id."""
    classes = {}
    to_find = Counter(verdicts.objects.category_id[verdicts.objects.counts].tolist())
    for number, found in verdicts.by_class(names):
        if len(found.score) or to_find[number]:
            classes[names[number]] = _class_scores(found, to_find[number])
    return VocScores(
        mean_average_precision=_mean([found.average_precision for found in classes.values()]),
        precision=_mean([found.precision for found in classes.values()]),
        recall=_mean([found.recall for found in classes.values()]),
        classes=classes,
    )


def voc_verdicts(scoring: Scoring, iou_threshold: float = 0.5, matching: Matching = "voc") -> Verdicts:
    """What each detection is by VOC's matching. Equal scores are taken in the order given.

    COCO's matching says the same wherever no detection can reach two objects of its class; only the groups
    (a class in a picture) where one might are matched anew.
    """
    base = scoring.verdicts(iou_threshold)
    verdict, found = base.verdict.copy(), base.found.copy()
    odd = base.objects.crowd | base.objects.difficult
    # COCO looks at MOST detections; where there is no object, those beyond are false like the others.
    alone = np.isin(base.image_id, scoring.images) & ~np.isin(
        _keys(scoring, base.image_id, base.category_id),
        _keys(scoring, base.objects.image_id, base.objects.category_id),
    )
    verdict[alone] = FALSE
    with uncollected():
        places, best, overlap, crowded = _nearest(scoring, base, iou_threshold, matching)
    reached = overlap >= iou_threshold
    verdict[places] = np.where(~reached & (crowded >= iou_threshold) & (matching == "voc"), IGNORED, FALSE)
    verdict[places[reached & odd[best]]] = IGNORED
    real = np.flatnonzero(reached & ~odd[best])
    hits = real[np.unique(best[real], return_index=True)[1]]
    verdict[places[hits]] = HIT
    found[places] = 0
    found[places[hits]] = base.objects.id[best[hits]]
    counts = base.objects.counts & ~base.objects.difficult
    return replace(base, verdict=verdict, found=found, objects=replace(base.objects, counts=counts))


def _nearest(
    scoring: Scoring, base: Verdicts, threshold: float, matching: Matching
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Of the detections in doubtful groups, by falling score in each: place, index of the object that is
    looked at, overlap with it, and the largest share inside a crowd region.
    """
    none: list[Any] = [np.zeros(0, dtype=np.int64)]
    places, best, overlap, crowded = none[:], none[:], [np.zeros(0)], [np.zeros(0)]
    for chosen, objects in _doubtful(scoring, base, threshold):
        truths, masks = scoring.masks(base.objects.id[objects].tolist(), chosen.tolist())
        crowd = base.objects.crowd[objects]
        shares = np.asarray(primitives.mask_iou(masks, truths, crowd.tolist()))
        inside = np.zeros(len(chosen))
        if crowd.any():
            inside = shares[:, crowd].max(axis=1)
            if matching == "voc":
                shares[:, crowd] = -1.0
        nearest = shares.argmax(axis=1)
        places.append(chosen)
        best.append(objects[nearest])
        overlap.append(shares[np.arange(len(chosen)), nearest])
        crowded.append(inside)
    return np.concatenate(places), np.concatenate(best), np.concatenate(overlap), np.concatenate(crowded)


def _doubtful(
    scoring: Scoring, base: Verdicts, threshold: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Groups that COCO's matching may judge otherwise: places of detections by falling score, of objects.

    It may where a detection can reach two objects or more, where an object is `difficult`, and where there
    are more detections than COCO looks at.
    """
    objects = base.objects
    there = np.flatnonzero(np.isin(base.image_id, scoring.images))
    keys = _keys(scoring, base.image_id[there], base.category_id[there])
    order = np.lexsort((-base.score[there], keys))
    places, keys = there[order], keys[order]
    object_keys = _keys(scoring, objects.image_id, objects.category_id)
    object_order = np.argsort(object_keys, kind="stable")
    object_keys = object_keys[object_order]
    groups, first, detections = np.unique(keys, return_index=True, return_counts=True)
    start, end = (np.searchsorted(object_keys, groups, side) for side in ("left", "right"))
    odd = np.isin(groups, object_keys[objects.difficult[object_order]]) | (detections > MOST)
    doubtful = odd & (end > start)
    several = ~doubtful & (end - start > 1)
    group = np.repeat(np.arange(len(groups)), np.where(several, detections, 0))
    detection = places[np.flatnonzero(np.repeat(several, detections))]
    torn = _torn(scoring, objects, detection, object_order, start[group], end[group], threshold)
    doubtful[group[torn]] = True
    for index in np.flatnonzero(doubtful):
        chosen = places[first[index] : first[index] + detections[index]]
        yield chosen, object_order[start[index] : end[index]]


def _keys(scoring: Scoring, image_id: NDArray[np.int64], category_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each class in a picture."""
    return np.searchsorted(scoring.images, image_id) * len(scoring.classes) + np.searchsorted(
        scoring.classes, category_id
    )


def _torn(
    scoring: Scoring,
    objects: Objects,
    detection: NDArray[np.int64],
    order: NDArray[np.int64],
    start: NDArray[np.int64],
    end: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.bool_]:
    """Whether a detection might reach two objects among order[start:end]; all but `order` are (n,).

    Masks can share no more than their boxes do, nor more than the smaller one has. Boxes are looked at
    first, since areas are those of the masks, not those that somebody annotated, and have to be counted.
    """
    torn = np.zeros(len(detection), dtype=bool)
    most = max(1, PAIRS // max(1, int((end - start).max(initial=1))))
    for part in range(0, len(detection), most):
        rows = np.arange(part, min(part + most, len(detection)))
        row, thing = _pairs(rows, order, start[rows], end[rows])
        area = scoring.area[detection[row]]
        shared = np.minimum(_overlap(scoring.box[detection[row]], objects.box[thing]), area)
        near = _several(row, shared >= (threshold - ROUNDING) * area)
        row, thing, area, shared = row[near], thing[near], area[near], shared[near]
        different, where = np.unique(thing, return_inverse=True)
        other = scoring.mask_areas(objects.id[different].tolist())[where]
        shared = np.minimum(shared, other)
        union = np.where(objects.crowd[thing], area, area + other - shared)
        torn[row[_several(row, shared >= (threshold - ROUNDING) * union)]] = True
    return torn


def _several(row: NDArray[np.int64], reached: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Places of the pairs that reach, of rows with two of them or more."""
    places = np.flatnonzero(reached)
    count = np.bincount(row[places])
    return places[count[row[places]] > 1]


def _pairs(
    rows: NDArray[np.int64], order: NDArray[np.int64], start: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each of the rows with each of its objects order[start:end]."""
    count = end - start
    row = np.repeat(rows, count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, order[np.repeat(start, count) + within]


def _overlap(box: NDArray[np.float64], annotated: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels that boxes (n, 4) share; the annotated ones may miss their masks by MARGIN."""
    low = np.maximum(box[:, :2], annotated[:, :2] - MARGIN)
    high = np.minimum(box[:, :2] + box[:, 2:], annotated[:, :2] + annotated[:, 2:] + MARGIN)
    return np.asarray((high - low).clip(min=0).prod(axis=1))


def _class_scores(found: Verdicts, objects: int) -> VocClass:
    points = curve(found, max(objects, 1))
    last = float(points.precision[-1]) if len(points.score) else None
    if objects == 0:
        return VocClass(average_precision=None, precision=last, recall=None)
    recall = float(points.recall[-1]) if len(points.score) else 0.0
    return VocClass(average_precision(found, objects), last, recall)


def average_precision(found: Verdicts, objects: int) -> float:
    """Area under the precision-recall curve, made to fall from left to right first (VOCap.m).

    Equal scores are taken one by one in the order given, as there.
    """
    counted = found.verdict != IGNORED
    order = np.argsort(-found.score[counted], kind="stable")
    hit = (found.verdict[counted] == HIT)[order]
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(falling[hit].sum() / objects)


def _mean(values: Sequence[float | None]) -> float:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else UNDEFINED
