"""Predict, score, report."""

import json
from pathlib import Path

from maskline import checkpoint
from maskline.artifacts import CHECKPOINT, TRIALS, TrialRecord
from maskline.dataset import PreparedDataset
from maskline.job import ImageInstanceSegmentationJob
from maskline.leaderboard import eligible, ranked
from maskline.prediction import predict

from .evaluate import evaluate, write_results
from .report import write_report


def measure(
    job: ImageInstanceSegmentationJob,
    prepared: Path,
    leaderboard: Path,
    model: Path,
    results: Path,
    report: Path,
) -> dict[str, float]:
    """Measure the best model on the test pictures, or on the validation pictures where there are none.

    Args:
        job: for the report.
        prepared: the prepared data set.
        leaderboard: folder that trial_selection wrote.
        model: folder of the best trial's model.
        results: folder for all numbers and the predictions.
        report: HTML file to write.

    Returns:
        The primary score and the twelve mask numbers by name, without those that are undefined.
    """
    data = PreparedDataset.read(prepared)
    split = data.evaluation_split
    detector, described = checkpoint.restore(model / CHECKPOINT)
    settings = described.training_settings
    predictions = predict(detector, data.coco(split), settings)
    numbers = evaluate(predictions, data, split, settings)
    write_results(results, numbers, predictions)
    records = json.loads((leaderboard / TRIALS).read_text(encoding="utf-8"))
    trials = [TrialRecord.from_json(record) for record in records]
    write_report(
        report,
        job=job.to_dict(),
        dataset=data,
        split=split,
        settings=settings,
        trials=trials,
        best=next(trial for trial in ranked(trials) if eligible(trial)),
        metrics=numbers,
        predictions=predictions,
    )
    shown = {f"mask_{name}": value for name, value in numbers["mask"].items() if value >= 0}
    if numbers["primary"]["value"] is not None:
        shown["primary_score"] = numbers["primary"]["value"]
    return shown
