"""Where a model is wrong, as plain data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from hotcoco import mask as rle
from hotcoco import primitives
from numpy.typing import NDArray

from maskline.bootstrap import LEVEL, ROUNDS, Area, interval, resampled
from maskline.scoring import IOUS, Scoring
from maskline.settings import TrainingSettings
from maskline.verdicts import Verdicts, calibration, curve
from maskline.voc import voc_verdicts

SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, float("inf")))
"""COCO's: areas in pixels, from and to."""
THIN = 0.1
"""An object is thin if its mean width, twice the area by the outline, is below this part of its box's
diagonal: about a rectangle of 9:1, or any longer line, however it bends."""
ERRORS = {
    "Cls": "class",
    "Loc": "localisation",
    "Both": "class and localisation",
    "Dupe": "duplicate",
    "Bkg": "background",
    "Miss": "missed",
}
"""TIDE's names of the kinds of error, in words."""


def analyse(scoring: Scoring, verdicts: Verdicts, settings: TrainingSettings) -> dict[str, Any]:
    """All that metrics.json says under `analysis`.

    Args:
        scoring: the predictions, with masks.
        verdicts: of masks, as COCO matches them at `validation_iou_threshold`.
        settings: thresholds, and the primary metric.

    Returns:
        - interval: level, rounds, low, high of the primary metric (bootstrap over pictures), or None;
        - errors: base (AP at IoU 0.5), and by kind: count, and gain, the AP that mending it would give;
        - confusion: labels (classes, then background), matrix (rows labelled, columns predicted), of
          predictions from box_score_threshold on, whatever their class, at validation_iou_threshold;
        - calibration: error, and score, precision, count by bin of the score;
        - thresholds: score and f1 of the best F1, for `all` predictions and by class (None without a hit);
        - groups: small, medium, large and thin objects: objects, found as deployed.
    """
    deployed = verdicts.above(settings.box_score_threshold)
    matrix, thin = _walk(scoring, settings)
    tide = scoring.errors()
    scores = calibration(verdicts)
    return {
        "interval": primary_interval(scoring, settings),
        "errors": {
            "base": tide["ap_base"],
            "kinds": {
                word: {"count": int(tide["counts"][name]), "gain": float(tide["delta_ap"][name])}
                for name, word in ERRORS.items()
            },
        },
        "confusion": {"labels": [*scoring.names.values(), "background"], "matrix": matrix.tolist()},
        "calibration": {
            "error": None if np.isnan(scores.error) else scores.error,
            "score": scores.score.tolist(),
            "precision": scores.precision.tolist(),
            "count": scores.count.tolist(),
        },
        "thresholds": {
            "all": _best(verdicts, None),
            "classes": {name: _best(verdicts, number) for number, name in scoring.names.items()},
        },
        "groups": _groups(deployed, thin),
    }


def primary_samples(
    scoring: Scoring, settings: TrainingSettings, rounds: int = ROUNDS
) -> NDArray[np.float64]:
    """The primary metric on pictures that are drawn again and again; equal draws for equal pictures."""
    area: Area = "coco"
    if settings.validation_metric_type in ("voc", "coco_voc"):
        matching = settings.advanced.voc_matching
        verdicts = [voc_verdicts(scoring, settings.validation_iou_threshold, matching)]
        area = "voc"
    elif settings.advanced.primary_iou == "0.50":
        verdicts = [scoring.verdicts(0.5)]
    else:
        verdicts = [scoring.verdicts(iou) for iou in IOUS]
    return resampled(verdicts, scoring.images, area, rounds=rounds)


def primary_interval(scoring: Scoring, settings: TrainingSettings) -> dict[str, float] | None:
    """The interval of the primary metric as `analyse` has it."""
    found = interval(primary_samples(scoring, settings))
    return None if found is None else {"level": LEVEL, "rounds": ROUNDS, "low": found[0], "high": found[1]}


def _best(verdicts: Verdicts, category: int | None) -> dict[str, float] | None:
    objects = verdicts.objects_of(category)
    if not objects:
        return None
    found = curve(verdicts if category is None else verdicts.of_class(category), objects).best()
    return None if found is None else {"score": found[0], "f1": found[1]}


def _groups(deployed: Verdicts, thin: Mapping[int, bool]) -> dict[str, dict[str, int]]:
    objects = deployed.objects
    found = np.isin(objects.id, deployed.found)
    members = {name: (objects.area >= low) & (objects.area < high) for name, low, high in SIZES}
    members["thin"] = np.array([thin.get(number, False) for number in objects.id.tolist()], dtype=bool)
    return {
        name: {"objects": int((chosen & objects.counts).sum()), "found": int((chosen & found).sum())}
        for name, chosen in members.items()
    }


def _walk(scoring: Scoring, settings: TrainingSettings) -> tuple[NDArray[np.int64], dict[int, bool]]:
    """The confusion matrix, and which objects are thin: what needs the masks of all classes of a picture."""
    place = {number: index for index, number in enumerate(scoring.classes)}
    matrix = np.zeros((len(place) + 1, len(place) + 1), dtype=np.int64)
    thin: dict[int, bool] = {}
    for image in scoring.images:
        objects, predictions = scoring.picture(image)
        for thing in objects:
            if isinstance(thing["segmentation"], list):
                thing["segmentation"] = scoring.masks([thing["id"]], [])[0][0]
            if not thing["iscrowd"]:
                thin[thing["id"]] = is_thin(rle.decode(thing["segmentation"]))
        shown = [one for one in predictions if one["score"] >= settings.box_score_threshold]
        _confuse(matrix, objects, shown, place, settings.validation_iou_threshold)
    return matrix, thin


def _confuse(
    matrix: NDArray[np.int64],
    objects: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    place: Mapping[int, int],
    threshold: float,
) -> None:
    """Count one picture: by falling score, each prediction takes the free object that it overlaps most, of
    whatever class. What finds none counts against the background, unless it lies on a crowd region.
    """
    crowd = np.array([bool(thing["iscrowd"]) for thing in objects], dtype=bool)
    order = sorted(predictions, key=lambda one: -one["score"])
    overlaps = np.zeros((len(order), len(objects)))
    if order and objects:
        masks, truths = ([one["segmentation"] for one in group] for group in (order, objects))
        overlaps = np.asarray(primitives.mask_iou(masks, truths, crowd.tolist()))
    free = ~crowd
    for one, row in zip(order, overlaps, strict=True):
        single = np.where(free, row, -1.0)
        best = int(single.argmax()) if len(row) else -1
        if best >= 0 and single[best] >= threshold:
            matrix[place[objects[best]["category_id"]], place[one["category_id"]]] += 1
            free[best] = False
        elif not (row[crowd] >= threshold).any():
            matrix[-1, place[one["category_id"]]] += 1
    for index in np.flatnonzero(free):
        matrix[place[objects[index]["category_id"]], -1] += 1


def is_thin(mask: NDArray[np.uint8]) -> bool:
    """Whether a mask (height, width) is that of a thin object; see THIN."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return False
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    padded = np.pad(inside.astype(np.int8), 1)
    outline = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    return bool(2 * inside.sum() / outline < THIN * np.hypot(*inside.shape))
