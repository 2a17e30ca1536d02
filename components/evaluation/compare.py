"""Two runs side by side, and whether one is better than the other."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from maskline.bootstrap import LEVEL, ROUNDS, interval
from maskline.dataset import PreparedDataset
from maskline.metrics import COCO_NAMES, primary_name
from maskline.page import Table, number, render_page
from maskline.scoring import Scoring
from maskline.settings import TrainingSettings, complete

from .analyse import primary_samples
from .describe import COCO_MEANINGS, primary_label
from .evaluate import evaluate
from .measure import find_prepared, read_background

TEMPLATE = Path(__file__).with_name("compare.html.j2")
SECTIONS = {"verdict": "Verdict", "scores": "Scores", "classes": "Classes", "settings": "Settings"}


@dataclass(frozen=True)
class Comparison:
    """What is known of two runs.

    Attributes:
        names: of the run directories.
        label: the primary metric in words.
        low, high: bounds of the difference of the primary metric, second minus first, or None if it can't
            be told.
        verdict: what that means, in a sentence.
        scores, classes, settings: tables; of the settings, those that differ.
    """

    names: tuple[str, str]
    label: str
    low: float | None
    high: float | None
    verdict: str
    scores: Table
    classes: Table
    settings: Table


@dataclass(frozen=True)
class _Run:
    name: str
    data: PreparedDataset
    settings: TrainingSettings
    numbers: dict[str, Any]
    scoring: Scoring


def compare(first: Path, second: Path) -> Comparison:
    """Two runs on their evaluation splits.

    The interval of the difference is over draws of the pictures that both were measured on, so it can only
    be told for the same data, split and primary metric.

    Raises:
        DataError: one of the directories holds no evaluation, or its prepared data set is gone.
    """
    runs = _read(first), _read(second)
    low, high, verdict = _difference(*runs)
    return Comparison(
        names=(runs[0].name, runs[1].name),
        label=primary_label(runs[0].numbers),
        low=low,
        high=high,
        verdict=verdict,
        scores=_scores(*runs),
        classes=_classes(*runs),
        settings=_settings(*runs),
    )


def write_comparison(path: Path, found: Comparison) -> None:
    """Write a comparison as one HTML file that needs nothing else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    title = " and ".join(found.names)
    text = render_page(TEMPLATE, title=title, subtitle="Two runs", sections=SECTIONS, found=found)
    path.write_text(text, encoding="utf-8")


def _read(directory: Path) -> _Run:
    known = read_background(directory)
    data = PreparedDataset.read(find_prepared(directory, known))
    settings = complete(known["settings"])
    evaluation = evaluate(directory, data, data.evaluation_split, settings)
    return _Run(str(directory), data, settings, evaluation.numbers, evaluation.scoring)


def _difference(first: _Run, second: _Run) -> tuple[float | None, float | None, str]:
    metric = primary_name(first.settings)
    for what, one, other in (
        ("data", first.data.digest, second.data.digest),
        ("split", first.numbers["split"], second.numbers["split"]),
        ("primary metric", metric, primary_name(second.settings)),
        ("pictures", first.scoring.images, second.scoring.images),
    ):
        if one != other:
            return (
                None,
                None,
                f"The runs were measured by different {what}, so their scores can't be compared.",
            )
    samples = primary_samples(second.scoring, second.settings) - primary_samples(
        first.scoring, first.settings
    )
    found = interval(samples)
    if found is None:
        return None, None, "There is too little to find on these pictures to tell the runs apart."
    low, high = found
    better = second.name if low > 0 else first.name if high < 0 else None
    words = f"{better} is better" if better else "Neither is clearly better"
    label = primary_label(first.numbers)
    return (
        low,
        high,
        f"{words}: the {LEVEL:.0%} interval of the difference in {label} is {low:+.3f} to "
        f"{high:+.3f} ({second.name} minus {first.name}, {ROUNDS} draws of the {len(first.scoring.images)} "
        f"pictures of the {first.numbers['split']} split).",
    )


def _scores(first: _Run, second: _Run) -> Table:
    rows = [["primary metric", *_three(*(run.numbers["primary"]["value"] for run in (first, second)))]]
    for kind in ("mask", "box"):
        for name in COCO_NAMES:
            values = (run.numbers[kind][name] for run in (first, second))
            rows.append([f"{kind} {name}: {COCO_MEANINGS[name]}", *_three(*values)])
    for name in ("mAP", "precision", "recall"):
        rows.append([f"VOC {name}", *_three(*(run.numbers["voc"][name] for run in (first, second)))])
    columns = [("", "name"), (first.name, "n"), (second.name, "n"), ("difference", "n")]
    return Table(columns, rows, best=0)  # type: ignore[arg-type]


def _classes(first: _Run, second: _Run) -> Table:
    names = list(dict.fromkeys([*first.numbers["classes"], *second.numbers["classes"]]))
    rows = []
    for name in names:
        values = (run.numbers["classes"].get(name, {}).get("mask_AP50") for run in (first, second))
        rows.append([name, *_three(*values)])
    columns = [("class, mask AP50", "name"), (first.name, "n"), (second.name, "n"), ("difference", "n")]
    return Table(columns, rows)  # type: ignore[arg-type]


def _settings(first: _Run, second: _Run) -> Table:
    rows = [
        [name, str(getattr(first.settings, name)), str(getattr(second.settings, name))]
        for name in TrainingSettings.model_fields
        if getattr(first.settings, name) != getattr(second.settings, name)
    ]
    note = "" if rows else "All settings are the same."
    return Table([("setting", ""), (first.name, "name"), (second.name, "name")], rows, note=note)


def _three(one: float | None, other: float | None) -> list[str]:
    defined = [value for value in (one, other) if value is not None and value != -1 and not np.isnan(value)]
    difference = f"{defined[1] - defined[0]:+.3f}" if len(defined) == 2 else "–"
    return [number(one), number(other), difference]
