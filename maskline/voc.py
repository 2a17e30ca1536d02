"""PASCAL VOC's scores, on masks.

How a detection is matched is the VOC development kit's rule (VOC2010 and later, VOCevaldet.m): within a
class, detections are taken by falling score; each looks at the one object of its picture that it overlaps
most. Overlap at or above the threshold is a hit if that object is still free, and a false positive if it
is taken: there is no second-best search, unlike COCO's. Objects marked `difficult` are neither hits nor
misses. VOC has no crowd regions; one is asked only when no object reaches the threshold, by the share of
the detection that lies inside it, as in COCO, and then the detection doesn't count either way.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

UNDEFINED = -1.0
"""What a mean over nothing is, in VOC's numbers as in COCO's."""

Verdict = Literal["hit", "false", "ignored"]
Key = tuple[int, int]


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
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], iou_threshold: float = 0.5
) -> VocScores:
    """Mean average precision, precision and recall of masks, at one IoU threshold.

    A class without objects has no AP and no recall; one without detections has AP 0, recall 0 and no
    precision. Undefined numbers stay out of the means. Precision and recall are those of all detections
    handed in, the last point of the curve.

    Args:
        ground_truth: COCO dictionary; `iscrowd` and `difficult` objects don't count.
        predictions: COCO results with `segmentation`; every one counts, whatever its score.
        iou_threshold: mask IoU from which a detection is a hit, 0 to 1.
    """
    verdicts = match(ground_truth, predictions, iou_threshold)
    objects = count_objects(ground_truth)
    by_class: dict[int, list[tuple[float, Verdict]]] = defaultdict(list)
    for prediction, verdict in zip(predictions, verdicts, strict=True):
        by_class[prediction["category_id"]].append((prediction["score"], verdict))
    classes = {
        category["name"]: _class_scores(by_class[category["id"]], objects.get(category["id"], 0))
        for category in ground_truth["categories"]
        if by_class[category["id"]] or objects.get(category["id"], 0)
    }
    return VocScores(
        mean_average_precision=_mean([found.average_precision for found in classes.values()]),
        precision=_mean([found.precision for found in classes.values()]),
        recall=_mean([found.recall for found in classes.values()]),
        classes=classes,
    )


def match(
    ground_truth: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]], iou_threshold: float = 0.5
) -> list[Verdict]:
    """What each detection is, in the order given: a hit, a false positive, or ignored.

    Equal scores are taken in the order given.
    """
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    objects: dict[Key, list[Mapping[str, Any]]] = defaultdict(list)
    for annotation in ground_truth["annotations"]:
        objects[annotation["image_id"], annotation["category_id"]].append(annotation)
    detections: dict[Key, list[int]] = defaultdict(list)
    for index in sorted(range(len(predictions)), key=lambda i: -predictions[i]["score"]):
        prediction = predictions[index]
        detections[prediction["image_id"], prediction["category_id"]].append(index)
    verdicts: list[Verdict] = ["false"] * len(predictions)
    for key, indices in detections.items():
        masks = [predictions[index]["segmentation"] for index in indices]
        there = objects.get(key, [])
        overlaps = _overlaps(masks, there, *sizes[key[0]])
        ignored = [counts_not(annotation) for annotation in there]
        crowd = np.array([bool(annotation.get("iscrowd")) for annotation in there], dtype=bool)
        for index, verdict in zip(indices, _judge(overlaps, ignored, crowd, iou_threshold), strict=True):
            verdicts[index] = verdict
    return verdicts


def count_objects(ground_truth: Mapping[str, Any]) -> dict[int, int]:
    """Objects that count, by category id."""
    counts: dict[int, int] = defaultdict(int)
    for annotation in ground_truth["annotations"]:
        if not counts_not(annotation):
            counts[annotation["category_id"]] += 1
    return dict(counts)


def counts_not(annotation: Mapping[str, Any]) -> bool:
    """Whether an object is neither to be found nor to be missed."""
    return bool(annotation.get("iscrowd") or annotation.get("difficult"))


def as_rle(segmentation: Any, height: int, width: int) -> Any:
    """A COCO segmentation (polygons, or RLE of either form) as compressed RLE."""
    if isinstance(segmentation, Sequence):
        return rle.merge(rle.frPyObjects(list(segmentation), height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation


def _overlaps(
    masks: list[Any], there: Sequence[Mapping[str, Any]], height: int, width: int
) -> NDArray[np.float64]:
    """Mask IoU, (detections, objects); for crowd regions the share of the detection inside."""
    if not there:
        return np.zeros((len(masks), 0))
    truth = [as_rle(annotation["segmentation"], height, width) for annotation in there]
    crowd = [int(bool(annotation.get("iscrowd"))) for annotation in there]
    return np.asarray(rle.iou(masks, truth, crowd), dtype=np.float64).reshape(len(masks), len(there))


def _judge(
    overlaps: NDArray[np.float64], ignored: Sequence[bool], crowd: NDArray[np.bool_], threshold: float
) -> list[Verdict]:
    """Verdicts on the detections of one class in one picture, by falling score."""
    taken: set[int] = set()
    verdicts: list[Verdict] = []
    for row in overlaps:
        single = np.where(crowd, -1.0, row)
        best = int(single.argmax()) if len(row) else -1
        if best >= 0 and single[best] >= threshold:
            if ignored[best]:
                verdicts.append("ignored")
            else:
                verdicts.append("false" if best in taken else "hit")
                taken.add(best)
        else:
            verdicts.append("ignored" if np.any(row[crowd] >= threshold) else "false")
    return verdicts


def _class_scores(detections: Sequence[tuple[float, Verdict]], objects: int) -> VocClass:
    ranked = sorted((d for d in detections if d[1] != "ignored"), key=lambda d: -d[0])
    hits = np.cumsum([verdict == "hit" for _, verdict in ranked], dtype=float)
    precision = hits / np.arange(1, len(ranked) + 1)
    last = float(precision[-1]) if ranked else None
    if objects == 0:
        return VocClass(average_precision=None, precision=last, recall=None)
    recall = hits / objects
    return VocClass(_area(recall, precision), last, float(recall[-1]) if ranked else 0.0)


def _area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """Area under the precision-recall curve, made to fall from left to right first (VOCap.m)."""
    edges = np.concatenate([[0.0], recall])
    falling = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(edges) * falling))


def _mean(values: Sequence[float | None]) -> float:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else UNDEFINED
