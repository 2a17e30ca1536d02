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

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hotcoco import primitives
from numpy.typing import NDArray

from .scoring import Scoring, uncollected
from .verdicts import FALSE, HIT, IGNORED, Objects, Verdicts, curve

UNDEFINED = -1.0
"""What a mean over nothing is, in VOC's numbers as in COCO's."""
MOST = 100
"""How many detections of a class in a picture COCO's matching looks at."""
MARGIN = 2.0
"""Pixels by which an annotated box may miss its mask."""
ROUNDING = 1e-3
"""Of a pixel: far more than products of areas and thresholds are rounded by."""
GROUPS_AT_ONCE = 1000

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
    for number, name in names.items():
        found, objects = verdicts.of_class(number), verdicts.objects_of(number)
        if len(found.score) or objects:
            classes[name] = _class_scores(found, objects)
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
    # COCO looks at MOST detections; beyond them, where there is no object either, all are false.
    there = np.flatnonzero((verdict == IGNORED) & np.isin(base.image_id, scoring.images))
    crowd = base.objects.crowd
    crowds = _keys(scoring, base.objects.image_id[crowd], base.objects.category_id[crowd])
    verdict[there[~np.isin(_keys(scoring, base.image_id[there], base.category_id[there]), crowds)]] = FALSE
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
    for chosen, objects, masks, truths in _with_masks(
        scoring, base, _doubtful(scoring, base, threshold, matching)
    ):
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


Group = tuple[NDArray[np.int64], NDArray[np.int64]]
"""A class in a picture: places of its detections by falling score, indices of its objects."""


def _with_masks(
    scoring: Scoring, base: Verdicts, groups: Iterator[Group]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], list[Any], list[Any]]]:
    """Groups with the masks of their detections and objects, looked up for many groups at a time."""
    while some := list(islice(groups, GROUPS_AT_ONCE)):
        objects = np.concatenate([group[1] for group in some])
        places = np.concatenate([group[0] for group in some])
        truths, masks = scoring.masks(base.objects.id[objects].tolist(), places.tolist())
        truth, mask = 0, 0
        for chosen, own in some:
            yield chosen, own, masks[mask : mask + len(chosen)], truths[truth : truth + len(own)]
            truth, mask = truth + len(own), mask + len(chosen)


def _doubtful(scoring: Scoring, base: Verdicts, threshold: float, matching: Matching) -> Iterator[Group]:
    """Groups that COCO's matching may judge otherwise.

    With a crowd region: where a detection finds its object taken, and COCO would go on to the region.
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
    crowd, difficult = objects.crowd[object_order], objects.difficult[object_order]
    crowded = np.isin(groups, object_keys[crowd])
    if matching == "voc":
        crowded &= (detections > 1) & np.isin(groups, object_keys[~crowd])
    doubtful = crowded | (np.isin(groups, object_keys[difficult]) | (detections > MOST)) & (end > start)
    several = (detections > 1) & (end - start > 1)
    if threshold < 0.5:
        doubtful |= several
    else:
        pairs = _crossing(objects, object_order, object_keys)
        sorted_out = np.isin(object_keys[pairs[0]], groups[several & ~doubtful])
        pairs = pairs[:, sorted_out]
        both = _reachable(scoring, base, threshold, object_order[pairs], object_keys[pairs[0]], places, keys)
        crossing = np.isin(groups, object_keys[pairs[0, both]])
        doubtful |= several & (crossing | np.isin(groups, keys[_halves(scoring, base, places)]))
    for group in np.flatnonzero(doubtful):
        chosen = places[first[group] : first[group] + detections[group]]
        yield chosen, object_order[start[group] : end[group]]


def _keys(scoring: Scoring, image_id: NDArray[np.int64], category_id: NDArray[np.int64]) -> NDArray[np.int64]:
    """One number for each class in a picture."""
    return np.searchsorted(scoring.images, image_id) * len(scoring.classes) + np.searchsorted(
        scoring.classes, category_id
    )


def _crossing(objects: Objects, order: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.int64]:
    """(2, n): pairs of objects of a group whose boxes come near each other; order sorts objects by group.

    From an IoU of 0.5 on, two objects can only both be reached by a detection if they overlap each other:
    each holds half of it or more. What is left is the detection that is exactly two halves (`_halves`).
    """
    box = objects.box[order]
    low, high = box[:, :2] - MARGIN / 2, box[:, :2] + box[:, 2:] + MARGIN / 2
    found = [np.zeros((2, 0), dtype=np.int64)]
    step = 1
    while (one := np.flatnonzero(keys[step:] == keys[:-step])).size:
        other = one + step
        near = np.all((low[one] <= high[other]) & (low[other] <= high[one]), axis=1)
        found.append(np.stack([one[near], other[near]]))
        step += 1
    return np.concatenate(found, axis=1)


def _reachable(
    scoring: Scoring,
    base: Verdicts,
    threshold: float,
    pairs: NDArray[np.int64],
    pair_keys: NDArray[np.int64],
    places: NDArray[np.int64],
    keys: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether a detection of their group is of a size at which it can reach both objects of a pair.

    At an IoU of t neither mask has less than t times the other's pixels.
    """
    used, back = np.unique(pairs, return_inverse=True)
    areas = scoring.object_areas(base.objects.id[used].tolist())[back.reshape(pairs.shape)]
    least = np.ceil(areas.max(axis=0) * threshold - ROUNDING).astype(np.int64)
    most = np.floor(areas.min(axis=0) / threshold + ROUNDING).astype(np.int64)
    found = scoring.area[places].astype(np.int64)
    span = max(int(found.max(initial=0)), int(most.max(initial=0))) + 1
    sizes = np.sort(keys * span + found)
    since = np.searchsorted(sizes, pair_keys * span + least, side="left")
    to = np.searchsorted(sizes, pair_keys * span + most, side="right")
    return np.asarray((least <= most) & (to > since))


def _halves(scoring: Scoring, base: Verdicts, places: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether a hit has exactly twice the area of its object, so that its IoU may be 0.5 with another too."""
    order = np.argsort(base.objects.id)
    index = np.searchsorted(base.objects.id[order], base.found[places]).clip(max=max(len(order) - 1, 0))
    areas = base.objects.area[order][index] if len(order) else np.zeros(len(places))
    return (base.found[places] > 0) & (np.abs(scoring.area[places] - 2 * areas) <= 1)


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
