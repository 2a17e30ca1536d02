"""The report: one HTML file that needs nothing else, for a person to judge a model by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from maskline.artifacts import SplitName, TrialRecord
from maskline.charts import (
    early_termination,
    importance,
    parallel_coordinates,
    parameter_importance,
    score_bars,
    score_curves,
    sweep_history,
)
from maskline.dataset import PreparedDataset
from maskline.leaderboard import eligible
from maskline.overlay import LABELLED, class_colours, css
from maskline.page import render_page
from maskline.scoring import Scoring
from maskline.settings import TrainingSettings

from .choose import choose, picture_scores
from .describe import (
    COCO_MEANINGS,
    ERROR_MEANINGS,
    beside_validation,
    class_table,
    data_table,
    findings_table,
    group_table,
    job_yaml,
    knob_rows,
    leaderboard_table,
    onnx_table,
    origin,
    primary_label,
    size_table,
    threshold_table,
    versions,
    warnings,
)
from .evaluate import Evaluation
from .plots import both_themes, by_threshold, confusion, error_bars, precision_recall, recoloured, reliability
from .show import show

TEMPLATE = Path(__file__).with_name("report.html.j2")
SECTIONS = {
    "summary": "Summary",
    "test": "Test data",
    "data": "Data",
    "sweep": "Sweep",
    "scores": "Scores",
    "classes": "Classes",
    "curves": "Curves",
    "errors": "Errors",
    "pictures": "Pictures",
    "onnx": "ONNX",
    "settings": "Settings",
    "reproduce": "Reproduce",
}


def write_report(
    path: Path,
    *,
    job: Mapping[str, Any],
    dataset: PreparedDataset,
    split: SplitName,
    settings: TrainingSettings,
    trials: Sequence[TrialRecord],
    best: TrialRecord,
    evaluation: Evaluation,
    validation: Mapping[str, float],
    parity: Mapping[str, Any] | None = None,
) -> None:
    """Write the report as one HTML file: no network, no scripts, pictures inside.

    Args:
        path: of the file; its folder is made if absent.
        job: the job as plain data; shown as YAML, without the values of environment_variables.
        dataset: the prepared data set; its findings.jsonl is read too.
        split: the split that was evaluated.
        settings: the complete settings of the best trial.
        trials: every trial of the sweep.
        best: the chosen one, as `select` returns it.
        evaluation: of the best trial's model.
        validation: what the trial measured of it on the validation split, by name, and the epoch.
        parity: how far the ONNX file is from the model (parity.json), where that is known already.
    """
    metrics, scoring, verdicts = evaluation.numbers, evaluation.scoring, evaluation.verdicts
    analysis = metrics["analysis"]
    files = {image["id"]: image["file_name"] for image in dataset.coco(split)["images"]}
    chosen = choose(picture_scores(verdicts.above(settings.box_score_threshold), scoring.images))
    shots = show(chosen, files, scoring, class_colours(len(dataset.classes)), settings.box_score_threshold)
    secrets, text = job_yaml(job)
    label = primary_label(metrics)
    absent = [name for name, there in (("test", split == "test"), ("onnx", parity)) if not there]
    context = {
        "title": job.get("display_name") or job.get("experiment_name") or "Instance segmentation report",
        "subtitle": f"Instance segmentation with {settings.model_name}",
        "sections": {name: text for name, text in SECTIONS.items() if name not in absent},
        "versions": versions(),
        "split": split,
        "beside_validation": beside_validation(metrics, validation),
        "onnx": onnx_table(parity) if parity else None,
        "origin": origin(
            split, dataset.findings or {}, chosen=len(trials) > 1 or settings.validation_metric_type != "none"
        ),
        "warnings": warnings(metrics, trials),
        "primary": {"value": metrics["primary"]["value"], "label": label, "interval": analysis["interval"]},
        "headline": _headline(metrics),
        "metrics": metrics,
        "meanings": COCO_MEANINGS,
        "counts": metrics["counts"],
        "settings": settings,
        "knobs": knob_rows(settings, best),
        "trials": trials,
        "best": best,
        "failed": sum(not eligible(trial) for trial in trials),
        "board": leaderboard_table(trials, best),
        "bars": both_themes(lambda theme: score_bars(trials, best, label, theme)),
        "curves": both_themes(lambda theme: score_curves(trials, best, label, theme)),
        "sweep_charts": _sweep_charts(trials, best, label),
        "classes": class_table(metrics),
        "sizes": size_table(metrics),
        "thresholds": threshold_table(metrics),
        "groups": group_table(metrics),
        "analysis": analysis,
        "precision_recall": recoloured(lambda theme: precision_recall(verdicts, scoring.names, theme)),
        "by_threshold": recoloured(lambda theme: by_threshold(verdicts, settings.box_score_threshold, theme)),
        "reliability": recoloured(lambda theme: reliability(analysis["calibration"], theme)),
        "errors": recoloured(lambda theme: error_bars(analysis["errors"]["kinds"], theme)),
        "error_meanings": ERROR_MEANINGS,
        "confusion": recoloured(lambda theme: confusion(analysis["confusion"], theme)),
        "shots": shots,
        "labelled": LABELLED,
        "colours": _legend(scoring, {score.image_id for score in chosen}),
        "dataset": dataset,
        "data": data_table(dataset),
        "findings": findings_table(dataset),
        "job_yaml": text,
        "hidden": secrets,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_page(TEMPLATE, **context), encoding="utf-8")


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, float]]:
    """The numbers beside the primary one, without it."""
    cards = {
        "mask_AP": ("mask AP, IoU 0.50:0.95", metrics["mask"]["AP"]),
        "mask_AP50": ("mask AP at IoU 0.50", metrics["mask"]["AP50"]),
        "precision": (
            f"precision from score {metrics['box_score_threshold']}",
            metrics["deployed"]["precision"],
        ),
        "recall": (f"recall from score {metrics['box_score_threshold']}", metrics["deployed"]["recall"]),
    }
    return [card for name, card in cards.items() if name != metrics["primary"]["name"]]


def _sweep_charts(
    trials: Sequence[TrialRecord], best: TrialRecord, label: str
) -> list[tuple[dict[str, str], str]]:
    """What more there is to see of several trials: charts, with a text for those who can't see them."""
    if len(trials) < 2:
        return []
    drawn = [
        (
            both_themes(lambda theme: sweep_history(trials, best, label, theme)),
            "Points: the score of each trial",
        ),
        (
            both_themes(lambda theme: parallel_coordinates(trials, best, label, theme)),
            "Lines: the parameters of each trial; the table below has them",
        ),
    ]
    if importance(trials):
        chart = both_themes(lambda theme: parameter_importance(trials, theme))
        drawn.append((chart, "Bars: how much of the scores' variance each parameter explains by itself"))
    if any(trial.state == "terminated" for trial in trials):
        chart = both_themes(lambda theme: early_termination(trials, best, label, theme))
        drawn.append((chart, "Lines: the score of each trial by epoch, with crosses where a policy ended it"))
    return drawn


def _legend(scoring: Scoring, images: set[int]) -> list[tuple[str, str]]:
    """Name and colour of the classes that occur in these pictures."""
    colours = class_colours(len(scoring.names))
    objects = scoring.objects
    seen = set(objects.category_id[np.isin(objects.image_id, list(images))].tolist())
    seen |= set(scoring.category_id[np.isin(scoring.image_id, list(images))].tolist())
    return [(name, css(colours[number])) for number, name in scoring.names.items() if number in seen]
