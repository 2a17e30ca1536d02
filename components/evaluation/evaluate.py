"""All numbers of a model on one split, as plain data."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskline.artifacts import BOX_PREDICTIONS, METRICS, PREDICTIONS, SplitName
from maskline.coco_forms import box_results, mask_results
from maskline.dataset import PreparedDataset
from maskline.metrics import (
    UNDEFINED,
    CocoEvaluation,
    Engine,
    VocClass,
    VocScores,
    coco_evaluation,
    primary_name,
    summarized,
)
from maskline.scoring import Scoring
from maskline.settings import TrainingSettings
from maskline.verdicts import Verdicts
from maskline.voc import summarize, voc_verdicts

from .analyse import analyse


@dataclass(frozen=True)
class Evaluation:
    """A model on one split.

    Attributes:
        numbers: what metrics.json holds, see `evaluate`.
        scoring: the predictions of masks, held against the split.
        verdicts: of masks, as COCO matches them at `validation_iou_threshold`.
    """

    numbers: dict[str, Any]
    scoring: Scoring
    verdicts: Verdicts


def write_predictions(
    folder: Path, pictures: Iterable[Sequence[Mapping[str, Any]]], threshold: float
) -> None:
    """Write predictions in COCO's two results formats, as they come: a picture is forgotten when written.

    predictions.json holds masks and predictions_bbox.json boxes: two files, since `COCO.loadRes` takes a
    mask's area from its box where a record has both. Each, given to pycocotools, gives our numbers.

    Args:
        folder: made if absent.
        pictures: COCO results of one picture after the other.
        threshold: of the score; what is below it is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / PREDICTIONS).open("w", encoding="utf-8") as masks,
        (folder / BOX_PREDICTIONS).open("w", encoding="utf-8") as boxes,
    ):
        comma = "["
        for picture in pictures:
            kept = [found for found in picture if found["score"] >= threshold]
            for mask, box in zip(mask_results(kept), box_results(kept), strict=True):
                masks.write(f"{comma}\n{json.dumps(mask)}")
                boxes.write(f"{comma}\n{json.dumps(box)}")
                comma = ","
        for stream in (masks, boxes):
            stream.write("[]\n" if comma == "[" else "\n]\n")


def evaluate(
    folder: Path,
    dataset: PreparedDataset,
    split: SplitName,
    settings: TrainingSettings,
    engine: Engine = "hotcoco",
) -> Evaluation:
    """Score predictions at original resolution; zero predictions are scored like any others.

    Args:
        folder: where `write_predictions` left them.
        dataset: the prepared data set they were made from.
        split: which of its splits.
        settings: of the model; its thresholds and the choice of primary metric.
        engine: what computes COCO's numbers, see `maskline.metrics.coco_scores`.

    Returns:
        What metrics.json holds:

        - split, score_threshold (of metrics), box_score_threshold, iou_threshold (of VOC's numbers);
        - primary: name, value (None where the split has no object to find);
        - mask, box: the twelve COCO numbers (maskline.metrics.COCO_NAMES), -1 where undefined;
        - voc: mAP, precision, recall of masks, -1 where undefined; all detections count;
        - deployed: precision and recall as in voc, of detections from box_score_threshold on;
        - classes: by name: objects, predictions, and where defined the twelve numbers as mask_… and box_…,
          voc_AP, precision and recall (the last two as in deployed);
        - counts: images, objects, crowd, predictions (those that count), deployed;
        - analysis: see `analyse`.

    Raises:
        DataError: predictions don't fit the split, or the data set has no such split.
    """
    truth = dataset.split_file(dataset.known(split))
    scoring = Scoring(truth, folder / PREDICTIONS)
    iou = settings.validation_iou_threshold
    mask = summarized(scoring.coco("segm", iou_threshold=iou), scoring.names)
    box = coco_evaluation(truth, folder / BOX_PREDICTIONS, "bbox", engine=engine)
    if engine != "hotcoco":
        mask = coco_evaluation(truth, folder / PREDICTIONS, engine=engine)
    matched = voc_verdicts(scoring, iou, settings.advanced.voc_matching)
    voc = summarize(matched, scoring.names)
    deployed = summarize(matched.above(settings.box_score_threshold), scoring.names)
    flat = {
        "mask_AP": mask.summary["AP"],
        "mask_AP50": mask.summary["AP50"],
        "voc_mAP": voc.mean_average_precision,
    }
    primary = flat[primary_name(settings)]
    verdicts = scoring.verdicts(iou)
    numbers = {
        "split": split,
        "score_threshold": settings.advanced.metric_score_threshold,
        "box_score_threshold": settings.box_score_threshold,
        "iou_threshold": iou,
        "primary": {"name": primary_name(settings), "value": None if primary == UNDEFINED else primary},
        "mask": mask.summary,
        "box": box.summary,
        "voc": {"mAP": voc.mean_average_precision, "precision": voc.precision, "recall": voc.recall},
        "deployed": {"precision": deployed.precision, "recall": deployed.recall},
        "classes": _classes(matched, scoring.names, (mask, box), voc, deployed),
        "counts": {
            "images": len(scoring.images),
            "objects": matched.objects_of(),
            "crowd": int((~matched.objects.counts).sum()),
            "predictions": len(scoring.score),
            "deployed": int(np.sum(scoring.score >= settings.box_score_threshold)),
        },
        "analysis": analyse(scoring, verdicts, settings),
    }
    return Evaluation(numbers, scoring, verdicts)


def write_numbers(folder: Path, numbers: Mapping[str, Any]) -> None:
    """Write metrics.json."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(numbers, indent=2, ensure_ascii=False, allow_nan=False)
    (folder / METRICS).write_text(text + "\n", encoding="utf-8")


def _classes(
    matched: Verdicts,
    names: Mapping[int, str],
    coco: tuple[CocoEvaluation, CocoEvaluation],
    voc: VocScores,
    deployed: VocScores,
) -> dict[str, dict[str, float]]:
    """The `classes` of `evaluate`, in the order of the category ids; what is undefined is left out."""
    found = Counter(matched.category_id.tolist())
    nothing = VocClass(None, None, None)
    table = {}
    for number, name in names.items():
        row: dict[str, float | None] = {"objects": matched.objects_of(number), "predictions": found[number]}
        for prefix, evaluation in zip(("mask", "box"), coco, strict=True):
            row |= {f"{prefix}_{key}": value for key, value in evaluation.classes.get(name, {}).items()}
        row["voc_AP"] = voc.classes.get(name, nothing).average_precision
        row["precision"] = deployed.classes.get(name, nothing).precision
        row["recall"] = deployed.classes.get(name, nothing).recall
        table[name] = {key: value for key, value in row.items() if value is not None}
    return table
