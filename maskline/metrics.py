"""Scores of predicted masks and boxes: COCO's official numbers, VOC's, and the one a trial reports.

COCO's numbers are computed by pycocotools and nowhere else. -1 stands for a number that is undefined,
as there: no object of that kind is in the ground truth.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FunctionType
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from .errors import DataError, StageError
from .settings import TrainingSettings
from .voc import UNDEFINED, VocClass, VocScores, as_rle, voc_scores

__all__ = [
    "COCO_NAMES",
    "UNDEFINED",
    "CocoEvaluation",
    "VocClass",
    "VocScores",
    "above",
    "box_results",
    "coco_evaluation",
    "coco_scores",
    "mask_results",
    "per_class",
    "primary_name",
    "primary_score",
    "voc_scores",
]

Kind = Literal["segm", "bbox"]
GroundTruth = Mapping[str, Any]
Predictions = Sequence[Mapping[str, Any]]

COCO_NAMES = (
    "AP",
    "AP50",
    "AP75",
    "AP_small",
    "AP_medium",
    "AP_large",
    "AR1",
    "AR10",
    "AR100",
    "AR_small",
    "AR_medium",
    "AR_large",
)
"""The twelve official numbers, in the order of pycocotools' summary, each 0 to 1.

AP: average precision, mean over IoU 0.50:0.95 and classes, at most 100 detections of a class in a picture;
AP50 and AP75 at one IoU; small, medium and large are objects of under 32², under 96² and more pixels.
AR1, AR10, AR100: average recall with at most 1, 10 and 100 detections of a class in a picture."""

LISTED = 5
"""How many wrong records an error lists."""


@dataclass(frozen=True)
class CocoEvaluation:
    """What one run of pycocotools gives.

    Attributes:
        summary: the twelve numbers by COCO_NAMES; -1 where undefined.
        classes: AP and AP50 by class name; undefined numbers, and classes without any, are left out.
    """

    summary: dict[str, float]
    classes: dict[str, dict[str, float]]


def coco_scores(ground_truth: GroundTruth, predictions: Predictions, kind: Kind = "segm") -> dict[str, float]:
    """The twelve official COCO numbers, by COCO_NAMES.

    Equal to pycocotools' summary on the results of this kind, in the form that COCO asks for: masks are
    judged without `bbox`. (Handed both, `COCO.loadRes` takes a mask's area from its box, which changes the
    numbers by size.) Objects are numbered anew from 1, since pycocotools takes one with id 0 for unfound.
    A key `ignore` has no effect, as there; crowd regions (`iscrowd`) are neither found nor missed.

    No predictions: 0 in every number that has objects. No objects, or crowd regions only: all -1.
    A class without objects stays out of the means, and its detections don't count.

    Args:
        ground_truth: COCO dictionary: images, annotations, categories. Not changed.
        predictions: COCO results: image_id, category_id, score, and `segmentation` (compressed RLE at the
            size of the picture) for `segm`, `bbox` ([x, y, width, height]) for `bbox`; where that is
            missing, the mask's box with the mask's area, as there. Not changed.
        kind: judge masks or boxes.

    Raises:
        DataError: predictions for pictures or classes that the ground truth doesn't have, scores that
            aren't numbers, masks that are missing or of another size than the picture.
    """
    return coco_evaluation(ground_truth, predictions, kind).summary


def per_class(
    ground_truth: GroundTruth, predictions: Predictions, kind: Kind = "segm"
) -> dict[str, dict[str, float]]:
    """AP and AP50 by class name; what is undefined is left out. Arguments: see `coco_scores`."""
    return coco_evaluation(ground_truth, predictions, kind).classes


def coco_evaluation(
    ground_truth: GroundTruth, predictions: Predictions, kind: Kind = "segm"
) -> CocoEvaluation:
    """The twelve numbers and those by class, in one go. Arguments and errors: see `coco_scores`."""
    _check(ground_truth, predictions, kind)
    results = (mask_results if kind == "segm" else box_results)(predictions)
    evaluator = COCOeval(_index(ground_truth, _objects(ground_truth)), None, kind)
    evaluator.cocoDt = _index(ground_truth, _detections(results))
    for step in (COCOeval.evaluate, COCOeval.accumulate, COCOeval.summarize):
        _silent(step)(evaluator)
    return CocoEvaluation(
        summary=dict(zip(COCO_NAMES, (float(value) for value in evaluator.stats), strict=True)),
        classes=_classes(evaluator, {c["id"]: c["name"] for c in ground_truth["categories"]}),
    )


def mask_results(predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions as COCO's results format for masks: without boxes."""
    return [{key: value for key, value in found.items() if key != "bbox"} for found in predictions]


def box_results(predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions as COCO's results format for boxes: without masks, except where a box is missing."""
    return [
        {key: value for key, value in found.items() if key != "segmentation" or "bbox" not in found}
        for found in predictions
    ]


def primary_name(settings: TrainingSettings) -> str:
    """The key of the primary metric among the numbers of `primary_score`."""
    if settings.validation_metric_type in ("voc", "coco_voc"):
        return "voc_mAP"
    return "mask_AP50" if settings.advanced.primary_iou == "0.50" else "mask_AP"


def primary_score(
    settings: TrainingSettings, ground_truth: GroundTruth, predictions: Predictions, *, boxes: bool = False
) -> tuple[float, dict[str, float]]:
    """The number by which epochs and trials are compared, and the others that were computed for it.

    `coco`: mask AP at IoU 0.50, or over 0.50:0.95 if `advanced_settings.primary_iou` says so. `voc` and
    `coco_voc`: VOC's mean average precision of masks at `validation_iou_threshold`. Detections below
    `advanced_settings.metric_score_threshold` are left out first.

    Args:
        settings: validation_metric_type, validation_iou_threshold and the advanced settings above.
        ground_truth: COCO dictionary.
        predictions: COCO results.
        boxes: add the twelve box numbers, for another pass of pycocotools.

    Returns:
        The score, 0 to 1; and numbers by name: `mask_` and `box_` before COCO_NAMES, `voc_mAP`,
        `voc_precision`, `voc_recall`. Undefined ones are left out.

    Raises:
        StageError: validation_metric_type is none.
        DataError: the ground truth has no object to find; or see `coco_scores`.
    """
    asked = settings.validation_metric_type
    if asked == "none":
        raise StageError(
            "validation_metric_type=none leaves nothing to compare trials by; choose coco, voc or coco_voc"
        )
    kept = above(predictions, settings.advanced.metric_score_threshold)
    numbers: dict[str, float] = {}
    if asked in ("coco", "coco_voc"):
        numbers |= _named("mask", coco_scores(ground_truth, kept, "segm"))
    if boxes:
        numbers |= _named("box", coco_scores(ground_truth, kept, "bbox"))
    if asked in ("voc", "coco_voc"):
        _check(ground_truth, kept, "segm")
        voc = voc_scores(ground_truth, kept, settings.validation_iou_threshold)
        numbers |= {
            "voc_mAP": voc.mean_average_precision,
            "voc_precision": voc.precision,
            "voc_recall": voc.recall,
        }
    numbers = {name: value for name, value in numbers.items() if value != UNDEFINED}
    name = primary_name(settings)
    if name not in numbers:
        raise DataError(_nothing_to_find(ground_truth, name))
    return numbers[name], numbers


def above(predictions: Predictions, threshold: float) -> list[Mapping[str, Any]]:
    """The predictions whose score is at least the threshold, in the order given."""
    return [found for found in predictions if found["score"] >= threshold]


def _named(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in scores.items()}


def _nothing_to_find(ground_truth: GroundTruth, name: str) -> str:
    crowds = sum(1 for annotation in ground_truth["annotations"] if annotation.get("iscrowd"))
    return (
        f"{name} is undefined: {len(ground_truth['images'])} pictures hold no object to find "
        f"({crowds} crowd regions, which don't count); label objects in them or choose another split"
    )


def _check(ground_truth: GroundTruth, predictions: Predictions, kind: Kind) -> None:
    """Refuse what pycocotools would drop, mistake or die of, with its place in the list."""
    sizes = {image["id"]: [image["height"], image["width"]] for image in ground_truth["images"]}
    categories = {category["id"] for category in ground_truth["categories"]}
    problems = []
    for index, found in enumerate(predictions):
        image, category, mask = found["image_id"], found["category_id"], found.get("segmentation")
        if image not in sizes:
            problems.append(f"prediction {index}: image_id={image} is not in the ground truth")
        elif category not in categories:
            problems.append(f"prediction {index}: category_id={category} is not in the ground truth")
        elif not math.isfinite(found["score"]):
            problems.append(f"prediction {index}: score={found['score']} is not a number")
        elif mask is None and (kind == "segm" or "bbox" not in found):
            problems.append(f"prediction {index}: segmentation is missing")
        elif mask is not None and list(mask["size"]) != sizes[image]:
            problems.append(
                f"prediction {index}: mask of size {list(mask['size'])} on image_id={image} "
                f"of size {sizes[image]} (height, width)"
            )
    if problems:
        more = len(problems) - LISTED
        listed = problems[:LISTED] + ([f"and {more} more"] if more > 0 else [])
        raise DataError(
            f"{len(problems)} of {len(predictions)} predictions don't fit the ground truth; "
            f"score them against the data they were made from: {'; '.join(listed)}"
        )


def _index(ground_truth: GroundTruth, annotations: list[dict[str, Any]]) -> Any:
    indexed = COCO()
    indexed.dataset = {
        "images": list(ground_truth["images"]),
        "categories": list(ground_truth["categories"]),
        "annotations": annotations,
    }
    _silent(COCO.createIndex)(indexed)
    return indexed


def _objects(ground_truth: GroundTruth) -> list[dict[str, Any]]:
    """Copies of the annotations with the keys that pycocotools wants."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in ground_truth["images"]}
    copies = []
    for number, annotation in enumerate(ground_truth["annotations"], start=1):
        mask = as_rle(annotation["segmentation"], *sizes[annotation["image_id"]])
        copy = {
            **annotation,
            "id": number,
            "iscrowd": int(bool(annotation.get("iscrowd"))),
            "segmentation": mask,
        }
        if "area" not in copy:
            copy["area"] = float(rle.area(mask))
        if "bbox" not in copy:
            copy["bbox"] = rle.toBbox(mask).tolist()
        copies.append(copy)
    return copies


def _detections(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with the keys that `COCO.loadRes` adds; it isn't used since it prints, and dies of []."""
    for number, found in enumerate(results, start=1):
        if "bbox" in found:
            found["area"] = found["bbox"][2] * found["bbox"][3]
        else:
            found["area"] = rle.area(found["segmentation"])
            found["bbox"] = rle.toBbox(found["segmentation"]).tolist()
        found |= {"id": number, "iscrowd": 0}
    return results


def _classes(evaluator: Any, names: Mapping[int, str]) -> dict[str, dict[str, float]]:
    # precision: (10 IoUs, 101 recalls, classes, 4 areas, 3 limits); IoU 0.50, all areas, 100 detections.
    precision = evaluator.eval["precision"][:, :, :, 0, 2]
    found = {}
    for index, category in enumerate(evaluator.params.catIds):
        values = {"AP": precision[:, :, index], "AP50": precision[0, :, index]}
        defined = {name: float(np.mean(v[v > -1])) for name, v in values.items() if np.any(v > -1)}
        if defined:
            found[names[int(category)]] = defined
    return found


def _silent(function: Any) -> Callable[..., Any]:
    """The same function, whose prints go nowhere.

    Neither `sys.stdout` nor pycocotools is touched, so other threads print as ever.
    """
    names = {**function.__globals__, "print": lambda *_, **__: None}
    return FunctionType(
        function.__code__, names, function.__name__, function.__defaults__, function.__closure__
    )
