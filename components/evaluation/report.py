"""The report: one HTML file that needs nothing else, for a person to judge a model by."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskline.artifacts import SplitName, TrialRecord
from maskline.charts import DARK, LIGHT, render, score_bars, score_curves
from maskline.dataset import PreparedDataset
from maskline.leaderboard import eligible
from maskline.metrics import above
from maskline.overlay import LABELLED, class_colours, css
from maskline.page import data_uri, render_page
from maskline.settings import TrainingSettings

from .choose import choose, picture_scores
from .describe import (
    COCO_MEANINGS,
    data_table,
    findings_table,
    job_yaml,
    knob_rows,
    leaderboard_table,
    origin,
    primary_label,
    versions,
    warnings,
)
from .show import show

TEMPLATE = Path(__file__).with_name("report.html.j2")
SECTIONS = {
    "summary": "Summary",
    "sweep": "Sweep",
    "scores": "Scores",
    "classes": "Classes",
    "pictures": "Pictures",
    "data": "Data",
    "settings": "Settings of the best trial",
    "reproduce": "How to reproduce",
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
    metrics: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
) -> None:
    """Write the report as one HTML file: no network, no scripts, pictures inside.

    Args:
        path: of the file; its folder is made if absent.
        job: the job as plain data; shown as YAML, without the values of environment_variables.
        dataset: the prepared data set; its findings.jsonl is read too.
        split: the split that `metrics` and `predictions` are of.
        settings: the complete settings of the best trial.
        trials: every trial of the sweep.
        best: the chosen one, as `select` returns it.
        metrics: what `evaluate` returned.
        predictions: what was evaluated.
    """
    truth = dataset.coco(split)
    shown = above(predictions, settings.box_score_threshold)
    colours = class_colours(len(dataset.classes))
    chosen = choose(picture_scores(truth, shown, settings.validation_iou_threshold))
    shots = show(chosen, truth, shown, colours)
    secrets, text = job_yaml(job)
    label = primary_label(metrics)
    context = {
        "title": job.get("display_name") or job.get("experiment_name") or "Instance segmentation report",
        "subtitle": f"Instance segmentation with {settings.model_name}",
        "sections": SECTIONS,
        "versions": versions(),
        "split": split,
        "origin": origin(split, dataset.findings or {}),
        "warnings": warnings(metrics, trials),
        "primary": {"value": metrics["primary"]["value"], "label": label},
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
        "bars": _both_themes(score_bars, trials, best, label),
        "curves": _both_themes(score_curves, trials, best, label),
        "shots": shots,
        "labelled": LABELLED,
        "colours": _legend(dataset, truth, shown, {score.image_id for score in chosen}),
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


def _both_themes(draw: Any, *arguments: Any) -> dict[str, str]:
    return {
        name: data_uri(render(draw(*arguments, theme), "svg"), "image/svg+xml")
        for name, theme in (("light", LIGHT), ("dark", DARK))
    }


def _legend(
    dataset: PreparedDataset,
    truth: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]],
    images: set[int],
) -> list[tuple[str, str]]:
    """Name and colour of the classes that occur in these pictures."""
    colours = class_colours(len(dataset.classes))
    seen = {
        found["category_id"] for found in (*truth["annotations"], *predictions) if found["image_id"] in images
    }
    return [(dataset.classes[number - 1], css(colours[number])) for number in sorted(seen)]
