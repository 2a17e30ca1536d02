"""Scores of predicted masks and boxes: COCO's official numbers, VOC's, and the one a trial reports.

The one door to them. COCO's numbers are computed by hotcoco, or by pycocotools where it is asked for, and
are the same to the last digit. -1 stands for a number that is undefined, as there: no object of that kind
is in the ground truth.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from .coco_forms import GroundTruth, Predictions, box_results, mask_results
from .errors import DataError
from .scoring import CocoArrays, Kind, Scoring
from .voc import UNDEFINED, VocClass, VocScores, summarize, voc_scores, voc_verdicts

if TYPE_CHECKING:  # the settings need pydantic, which scoring a file doesn't
    from .settings import TrainingSettings

__all__ = [
    "COCO_NAMES",
    "UNDEFINED",
    "CocoEvaluation",
    "Scoring",
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
    "summarized",
    "voc_scores",
]

Engine = Literal["hotcoco", "pycocotools"]

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

PLACES = {
    **{name: (iou, 0, 2) for name, iou in (("AP", None), ("AP50", 0), ("AP75", 5))},
    **{f"AP_{size}": (None, area, 2) for area, size in enumerate(("small", "medium", "large"), start=1)},
    **{f"AR{limit}": (None, 0, place) for place, limit in enumerate((1, 10, 100))},
    **{f"AR_{size}": (None, area, 2) for area, size in enumerate(("small", "medium", "large"), start=1)},
}
"""Where in the arrays a number comes from: index of the IoU (None for all), of the size, of the limit."""


@dataclass(frozen=True)
class CocoEvaluation:
    """What one evaluation gives.

    Attributes:
        summary: the twelve numbers by COCO_NAMES; -1 where undefined.
        classes: the same by class name; undefined numbers, and classes without any, are left out.
    """

    summary: dict[str, float]
    classes: dict[str, dict[str, float]]


def coco_scores(
    ground_truth: GroundTruth | Path,
    predictions: Predictions | Path,
    kind: Kind = "segm",
    *,
    images: Collection[int] | None = None,
    engine: Engine = "hotcoco",
) -> dict[str, float]:
    """The twelve official COCO numbers, by COCO_NAMES.

    Equal to pycocotools' summary on the results of this kind, in the form that COCO asks for: masks are
    judged without `bbox`. (Handed both, `COCO.loadRes` takes a mask's area from its box, which changes the
    numbers by size.) Objects are numbered anew from 1, since pycocotools takes one with id 0 for unfound.
    A key `ignore` has no effect, as there; crowd regions (`iscrowd`) are neither found nor missed.

    No predictions: 0 in every number that has objects. No objects, or crowd regions only: all -1.
    A class without objects stays out of the means, and its detections don't count.

    Args:
        ground_truth: COCO dictionary (images, annotations, categories), not changed; or a file of it.
        predictions: COCO results: image_id, category_id, score, and `segmentation` (compressed RLE at the
            size of the picture) for `segm`, `bbox` ([x, y, width, height]) for `bbox`; where that is
            missing, the mask's box with the mask's area, as there. Not changed; or a file of them.
        kind: judge masks or boxes.
        images: ids of the pictures that count, as with `COCOeval.params.imgIds`; None for all.
        engine: `pycocotools` is the reference; slower by an order of magnitude, and needs more memory.

    Raises:
        DataError: predictions for pictures or classes that the ground truth doesn't have, scores that
            aren't numbers, masks that are missing or of another size than the picture.
    """
    return _means(
        _arrays(Scoring(ground_truth, predictions, images), ground_truth, predictions, kind, engine)
    )


def per_class(
    ground_truth: GroundTruth | Path, predictions: Predictions | Path, kind: Kind = "segm"
) -> dict[str, dict[str, float]]:
    """The twelve numbers by class name; what is undefined is left out. Arguments: see `coco_scores`."""
    return coco_evaluation(ground_truth, predictions, kind).classes


def coco_evaluation(
    ground_truth: GroundTruth | Path,
    predictions: Predictions | Path,
    kind: Kind = "segm",
    *,
    images: Collection[int] | None = None,
    engine: Engine = "hotcoco",
) -> CocoEvaluation:
    """The twelve numbers and those by class, in one go. Arguments and errors: see `coco_scores`."""
    scoring = Scoring(ground_truth, predictions, images)
    return summarized(_arrays(scoring, ground_truth, predictions, kind, engine), scoring.names)


def _arrays(
    scoring: Scoring,
    ground_truth: GroundTruth | Path,
    predictions: Predictions | Path,
    kind: Kind,
    engine: Engine,
) -> CocoArrays:
    if engine == "hotcoco":
        return scoring.coco(kind)
    from .coco_reference import coco_arrays

    scoring.need(kind)
    return coco_arrays(ground_truth, predictions, kind, scoring.images)


def summarized(arrays: CocoArrays, names: Mapping[int, str]) -> CocoEvaluation:
    """COCO's means over what was accumulated; names of the classes by category id."""
    columns = {name: _class_means(_part(arrays, name)) for name in COCO_NAMES}
    classes = {}
    for place, name in enumerate(names.values()):
        numbers = {key: float(column[place]) for key, column in columns.items() if column[place] > UNDEFINED}
        if numbers:
            classes[name] = numbers
    return CocoEvaluation(_means(arrays), classes)


def _means(arrays: CocoArrays) -> dict[str, float]:
    means = {}
    for name in COCO_NAMES:
        part = _part(arrays, name)
        defined = part[part > -1]
        means[name] = float(np.mean(defined)) if defined.size else UNDEFINED
    return means


def _part(arrays: CocoArrays, name: str) -> NDArray[np.float64]:
    """What a number is the mean of: (IoUs, recalls, classes) for an AP, (IoUs, classes) for an AR."""
    iou, area, limit = PLACES[name]
    whole = arrays.precision if name.startswith("AP") else arrays.recall
    part: NDArray[np.float64] = (whole if iou is None else whole[[iou]])[..., area, limit]
    return part


def _class_means(part: NDArray[np.float64]) -> NDArray[np.float64]:
    """(classes,); what a class lacks it lacks throughout, since that depends on its objects alone."""
    rows = np.ascontiguousarray(np.moveaxis(part, -1, 0))  # or the sum is taken in another order
    return np.asarray(rows.reshape(len(rows), -1).mean(axis=1))


def primary_name(settings: "TrainingSettings") -> str:
    """The key of the primary metric among the numbers of `primary_score`."""
    if settings.validation_metric_type in ("voc", "coco_voc"):
        return "voc_mAP"
    return "mask_AP50" if settings.advanced.primary_iou == "0.50" else "mask_AP"


def primary_score(
    settings: "TrainingSettings",
    ground_truth: GroundTruth | Path,
    predictions: Predictions | Path,
    *,
    boxes: bool = False,
) -> tuple[float, dict[str, float]]:
    """The number by which epochs and trials are compared, and the others that were computed for it.

    `coco`, and `none` for its one evaluation: mask AP at IoU 0.50, or over 0.50:0.95 if
    `advanced_settings.primary_iou` says so. `voc` and `coco_voc`: VOC's mean average precision of masks at
    `validation_iou_threshold`. Detections below `advanced_settings.metric_score_threshold` are left out
    first.

    Args:
        settings: validation_metric_type, validation_iou_threshold and the advanced settings above.
        ground_truth: COCO dictionary or file.
        predictions: COCO results; or a file of them, cut off at that threshold already.
        boxes: add the twelve box numbers.

    Returns:
        The score, 0 to 1; and numbers by name: `mask_` and `box_` before COCO_NAMES, `voc_mAP`,
        `voc_precision`, `voc_recall`. Undefined ones are left out.

    Raises:
        DataError: the ground truth has no object to find; or see `coco_scores`.
    """
    asked = settings.validation_metric_type
    scoring = Scoring(ground_truth, _kept(predictions, settings.advanced.metric_score_threshold))
    numbers: dict[str, float] = {}
    with_voc = asked in ("voc", "coco_voc")
    if asked != "voc":
        at = settings.validation_iou_threshold if with_voc else None
        numbers |= _named("mask", summarized(scoring.coco("segm", iou_threshold=at), {}).summary)
    if with_voc:
        scoring.need("segm")
        verdicts = voc_verdicts(scoring, settings.validation_iou_threshold, settings.advanced.voc_matching)
        voc = summarize(verdicts, scoring.names)
        numbers |= {
            "voc_mAP": voc.mean_average_precision,
            "voc_precision": voc.precision,
            "voc_recall": voc.recall,
        }
    if boxes:
        numbers |= _named("box", summarized(scoring.coco("bbox"), {}).summary)
    numbers = {name: value for name, value in numbers.items() if value != UNDEFINED}
    name = primary_name(settings)
    if name not in numbers:
        raise DataError(_nothing_to_find(scoring, name))
    return numbers[name], numbers


def _kept(predictions: Predictions | Path, threshold: float) -> Predictions | Path:
    return predictions if isinstance(predictions, Path) else above(predictions, threshold)


def above(predictions: Predictions, threshold: float) -> list[Mapping[str, Any]]:
    """The predictions whose score is at least the threshold, in the order given."""
    return [found for found in predictions if found["score"] >= threshold]


def _named(prefix: str, scores: Mapping[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in scores.items()}


def _nothing_to_find(scoring: Scoring, name: str) -> str:
    return (
        f"{name} is undefined: {len(scoring.images)} pictures hold no object to find "
        f"({int(scoring.objects.crowd.sum())} crowd regions, which don't count); label objects in them or "
        "choose another split"
    )
