"""All numbers of a model on one split, as plain data."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskline.artifacts import METRICS, PREDICTIONS, SplitName
from maskline.dataset import PreparedDataset
from maskline.metrics import (
    UNDEFINED,
    CocoEvaluation,
    VocClass,
    VocScores,
    above,
    box_results,
    coco_evaluation,
    mask_results,
    primary_name,
    voc_scores,
)
from maskline.settings import TrainingSettings
from maskline.voc import count_objects, counts_not

BOX_PREDICTIONS = "predictions_bbox.json"
"""The predictions in COCO's results format for boxes; PREDICTIONS has them as masks."""


def evaluate(
    predictions: Sequence[Mapping[str, Any]],
    dataset: PreparedDataset,
    split: SplitName,
    settings: TrainingSettings,
) -> dict[str, Any]:
    """Score predictions at original resolution; zero predictions are scored like any others.

    Args:
        predictions: COCO results with masks and boxes, as `maskline.prediction.predict` gives them.
        dataset: the prepared data set they were made from.
        split: which of its splits.
        settings: of the model; its thresholds and the choice of primary metric.

    Returns:
        What metrics.json holds:

        - split, score_threshold (of metrics), box_score_threshold, iou_threshold (of VOC's numbers);
        - primary: name, value (None where the split has no object to find);
        - mask, box: the twelve COCO numbers (maskline.metrics.COCO_NAMES), -1 where undefined;
        - voc: mAP, precision, recall of masks, -1 where undefined; all detections count;
        - deployed: precision and recall as in voc, of detections from box_score_threshold on;
        - classes: by name: objects, predictions, and where defined mask_AP, mask_AP50, box_AP, box_AP50,
          voc_AP, precision and recall (the last two as in deployed);
        - counts: images, objects, crowd, predictions (those that count), deployed.

    Raises:
        DataError: predictions don't fit the split, or the data set has no such split.
    """
    truth = dataset.coco(split)
    kept = above(predictions, settings.advanced.metric_score_threshold)
    shown = above(kept, settings.box_score_threshold)
    mask = coco_evaluation(truth, kept, "segm")
    box = coco_evaluation(truth, kept, "bbox")
    voc = voc_scores(truth, kept, settings.validation_iou_threshold)
    deployed = voc_scores(truth, shown, settings.validation_iou_threshold)
    flat = {
        "mask_AP": mask.summary["AP"],
        "mask_AP50": mask.summary["AP50"],
        "voc_mAP": voc.mean_average_precision,
    }
    primary = flat[primary_name(settings)]
    return {
        "split": split,
        "score_threshold": settings.advanced.metric_score_threshold,
        "box_score_threshold": settings.box_score_threshold,
        "iou_threshold": settings.validation_iou_threshold,
        "primary": {"name": primary_name(settings), "value": None if primary == UNDEFINED else primary},
        "mask": mask.summary,
        "box": box.summary,
        "voc": {"mAP": voc.mean_average_precision, "precision": voc.precision, "recall": voc.recall},
        "deployed": {"precision": deployed.precision, "recall": deployed.recall},
        "classes": _classes(truth, kept, (mask, box), voc, deployed),
        "counts": {
            "images": len(truth["images"]),
            "objects": sum(count_objects(truth).values()),
            "crowd": sum(counts_not(annotation) for annotation in truth["annotations"]),
            "predictions": len(kept),
            "deployed": len(shown),
        },
    }


def write_results(folder: Path, metrics: Mapping[str, Any], predictions: Sequence[Mapping[str, Any]]) -> None:
    """Write metrics.json, and the predictions in COCO's two results formats.

    predictions.json holds masks and predictions_bbox.json boxes: two files, since `COCO.loadRes` takes a
    mask's area from its box where a record has both. Each, given to pycocotools, gives our numbers.

    Args:
        folder: made if absent.
        metrics: of `evaluate`.
        predictions: what was scored, cut off at `score_threshold` of the metrics.
    """
    folder.mkdir(parents=True, exist_ok=True)
    kept = above(predictions, metrics["score_threshold"])
    (folder / METRICS).write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / PREDICTIONS).write_text(json.dumps(mask_results(kept)), encoding="utf-8")
    (folder / BOX_PREDICTIONS).write_text(json.dumps(box_results(kept)), encoding="utf-8")


def _classes(
    truth: Mapping[str, Any],
    kept: Sequence[Mapping[str, Any]],
    coco: tuple[CocoEvaluation, CocoEvaluation],
    voc: VocScores,
    deployed: VocScores,
) -> dict[str, dict[str, float]]:
    """The `classes` of `evaluate`, in the order of the category ids; what is undefined is left out."""
    objects, found = count_objects(truth), Counter(p["category_id"] for p in kept)
    nothing = VocClass(None, None, None)
    table = {}
    for category in truth["categories"]:
        name, number = category["name"], category["id"]
        row: dict[str, float | None] = {"objects": objects.get(number, 0), "predictions": found[number]}
        for prefix, evaluation in zip(("mask", "box"), coco, strict=True):
            row |= {f"{prefix}_{key}": value for key, value in evaluation.classes.get(name, {}).items()}
        row["voc_AP"] = voc.classes.get(name, nothing).average_precision
        row["precision"] = deployed.classes.get(name, nothing).precision
        row["recall"] = deployed.classes.get(name, nothing).recall
        table[name] = {key: value for key, value in row.items() if value is not None}
    return table
