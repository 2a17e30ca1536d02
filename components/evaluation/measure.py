"""Predict, score, report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskline import checkpoint
from maskline.artifacts import (
    BOX_PREDICTIONS,
    CHECKPOINT,
    DATASET,
    EVALUATION,
    PARITY,
    PREDICTIONS,
    TRIALS,
    TrialRecord,
)
from maskline.dataset import PreparedDataset
from maskline.errors import DataError
from maskline.job import ImageInstanceSegmentationJob
from maskline.leaderboard import eligible, ranked
from maskline.metrics import Engine
from maskline.prediction import predict_pictures
from maskline.settings import complete

from .describe import without_secrets
from .evaluate import evaluate, write_numbers, write_predictions
from .report import write_report


def measure(
    job: ImageInstanceSegmentationJob,
    prepared: Path,
    leaderboard: Path,
    model: Path,
    results: Path,
    report: Path,
) -> tuple[dict[str, float], tuple[list[str], list[list[int]]]]:
    """Measure the best model on the test pictures, or on the validation pictures where there are none.

    Args:
        job: for the report.
        prepared: the prepared data set.
        leaderboard: folder that trial_selection wrote.
        model: folder of the best trial's model.
        results: folder for all numbers and the predictions.
        report: HTML file to write.

    Returns:
        The primary score and the twelve mask numbers by name, without those that are undefined; and the
        confusion matrix: labels, rows of counts.
    """
    data = PreparedDataset.read(prepared)
    split = data.evaluation_split
    detector, described = checkpoint.restore(model / CHECKPOINT)
    settings = described.training_settings
    pictures = predict_pictures(detector, data.coco(split), settings)
    write_predictions(results, pictures, settings.advanced.metric_score_threshold)
    records = json.loads((leaderboard / TRIALS).read_text(encoding="utf-8"))
    validation = {"epoch": described.epoch, **described.metrics}
    write_background(results, job.to_dict(), prepared, described.settings, records, validation)
    numbers = rebuild(results, report)
    shown = {f"mask_{name}": value for name, value in numbers["mask"].items() if value >= 0}
    if numbers["primary"]["value"] is not None:
        shown["primary_score"] = numbers["primary"]["value"]
    confusion = numbers["analysis"]["confusion"]
    return shown, (confusion["labels"], confusion["matrix"])


def write_background(
    results: Path,
    job: dict[str, Any],
    prepared: Path,
    settings: dict[str, Any],
    trials: list[dict[str, Any]],
    validation: Mapping[str, float],
) -> None:
    """Write what the report is made of besides numbers and predictions, so that it can be made again."""
    known = {
        "job": without_secrets(job),
        "prepared": str(prepared),
        "settings": settings,
        "trials": trials,
        "validation": dict(validation),
    }
    (results / EVALUATION).write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")


def rebuild(
    results: Path, report: Path, prepared: Path | None = None, engine: Engine = "hotcoco"
) -> dict[str, Any]:
    """Numbers and report from the files of an evaluation, without predicting anew.

    Args:
        results: folder with predictions.json, predictions_bbox.json and evaluation.json; metrics.json is
            written there.
        report: HTML file to write.
        prepared: the prepared data set, if it isn't where it was.
        engine: what computes COCO's numbers.

    Returns:
        What metrics.json holds.

    Raises:
        DataError: a file or the data set is missing.
    """
    known = read_background(results)
    data = PreparedDataset.read(prepared or find_prepared(results, known))
    split = data.evaluation_split
    settings = complete(known["settings"])
    evaluation = evaluate(results, data, split, settings, engine)
    write_numbers(results, evaluation.numbers)
    trials = [TrialRecord.from_json(record) for record in known["trials"]]
    write_report(
        report,
        job=known["job"],
        dataset=data,
        split=split,
        settings=settings,
        trials=trials,
        best=next(trial for trial in ranked(trials) if eligible(trial)),
        evaluation=evaluation,
        validation=known.get("validation", {}),
        parity=_parity(results),
    )
    return evaluation.numbers


def _parity(results: Path) -> dict[str, Any] | None:
    """What onnx_export measured; it comes after evaluation, so only a report that is made again has it."""
    file = results / PARITY
    known: dict[str, Any] | None = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    return known


def find_prepared(results: Path, known: dict[str, Any]) -> Path:
    """The prepared data set of an evaluation: where it was, or below the run directory if that was moved."""
    told = Path(known["prepared"])
    if (told / DATASET).is_file():
        return told
    below = sorted(results.glob(f"pipeline/*/data-preparation/prepared/{DATASET}"))
    return below[-1].parent if below else told


def read_background(results: Path) -> dict[str, Any]:
    """The inverse of `write_background`.

    Raises:
        DataError: the folder holds no evaluation.
    """
    for name in (EVALUATION, PREDICTIONS, BOX_PREDICTIONS):
        if not (results / name).is_file():
            raise DataError(f"{results} holds no {name}; name the directory of a run that was evaluated")
    known: dict[str, Any] = json.loads((results / EVALUATION).read_text(encoding="utf-8"))
    return known
