"""Where a model is wrong, as plain data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskline.bootstrap import LEVEL, ROUNDS, Area, interval, resampled
from maskline.coco_forms import is_compressed
from maskline.scoring import IOUS, Scoring
from maskline.settings import TrainingSettings
from maskline.verdicts import Verdicts, calibration, curve
from maskline.voc import voc_verdicts

from .confusion import Pair, confused, matrix
from .thin import thin

SIZES = (("small", 0, 32**2), ("medium", 32**2, 96**2), ("large", 96**2, float("inf")))
"""COCO's: areas in pixels, from and to."""
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
        - confusion: labels, matrix (rows labelled, columns predicted; see `confusion.matrix`), of
          predictions from box_score_threshold on, whatever their class, at validation_iou_threshold;
        - calibration: error, and score, precision, count by bin of the score;
        - thresholds: score and f1 of the best F1, for `all` predictions and by class (None without a hit);
        - groups: small, medium, large and thin objects: objects, found as deployed.
    """
    deployed = verdicts.above(settings.box_score_threshold)
    pairs, slim = _walk(scoring, settings)
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
        "confusion": matrix(pairs, scoring.names),
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
        "groups": _groups(deployed, slim),
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


def _groups(deployed: Verdicts, slim: Mapping[int, bool]) -> dict[str, dict[str, int]]:
    objects = deployed.objects
    found = np.isin(objects.id, deployed.found)
    members = {name: (objects.area >= low) & (objects.area < high) for name, low, high in SIZES}
    members["thin"] = np.array([slim.get(number, False) for number in objects.id.tolist()], dtype=bool)
    return {
        name: {"objects": int((chosen & objects.counts).sum()), "found": int((chosen & found).sum())}
        for name, chosen in members.items()
    }


def _walk(scoring: Scoring, settings: TrainingSettings) -> tuple[list[Pair], dict[int, bool]]:
    """What is taken for what, and which objects are thin: what needs all masks of a picture."""
    pairs: list[Pair] = []
    slim: dict[int, bool] = {}
    for image in scoring.images:
        objects, predictions = scoring.picture(image)
        for thing in objects:
            if not is_compressed(thing["segmentation"]):
                thing["segmentation"] = scoring.masks([thing["id"]], [])[0][0]
        single = [thing for thing in objects if not thing["iscrowd"]]
        told = thin([thing["segmentation"] for thing in single])
        slim |= {thing["id"]: one for thing, one in zip(single, told, strict=True)}
        shown = [one for one in predictions if one["score"] >= settings.box_score_threshold]
        pairs += confused(objects, shown, settings.validation_iou_threshold)
    return pairs, slim
