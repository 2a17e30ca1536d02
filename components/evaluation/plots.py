"""Pictures of how a model errs; see `maskline.charts` for those of a sweep, and for the themes."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskline.charts import DARK, LIGHT, PALETTE, Theme, render
from maskline.page import data_uri
from maskline.verdicts import Curve, Verdicts, curve

from .confusion import MOST

WIDTH = 5.0
CLASSES = 5
"""How many classes have a curve, and a colour, of their own: those with the most objects."""
LABELS = 15
"""How many classes the confusion matrix shows: those with the most confusions."""
POINTS = 400
"""Most points of a curve; more can't be seen."""
NAME = 22
OTHERS = [colour for colour in PALETTE if colour not in (LIGHT.best, DARK.best)]
_TO_DARK = {
    getattr(LIGHT, name).lower(): getattr(DARK, name).lower() for name in ("ink", "faint", "best", "other")
}
"""Letters of a class's name in a picture."""


def both_themes(draw: Callable[[Theme], Figure]) -> dict[str, str]:
    """A chart for light and dark screens, as `data:` URIs; drawn twice."""
    drawn = {"light": render(draw(LIGHT), "svg"), "dark": render(draw(DARK), "svg")}
    return {name: data_uri(chart, "image/svg+xml") for name, chart in drawn.items()}


def recoloured(draw: Callable[[Theme], Figure]) -> dict[str, str]:
    """The same, drawn once: for charts whose colours are those of the theme, and OTHERS."""
    light = render(draw(LIGHT), "svg")
    dark = re.sub(
        b"#(?:" + b"|".join(colour[1:].lower().encode() for colour in _TO_DARK) + b")",
        lambda found: _TO_DARK[found[0].decode()].encode(),
        light,
    )
    return {name: data_uri(chart, "image/svg+xml") for name, chart in (("light", light), ("dark", dark))}


def precision_recall(verdicts: Verdicts, names: Mapping[int, str], theme: Theme) -> Figure:
    """Precision over recall: of all predictions together, strong, and of the most frequent classes."""
    figure, axes = _figure(3.6, theme)
    order = sorted(names, key=lambda number: -verdicts.objects_of(number))
    shown = [number for number in order if verdicts.objects_of(number)][: CLASSES if len(names) > 1 else 0]
    for place, number in enumerate(shown):
        points = curve(verdicts.of_class(number), verdicts.objects_of(number))
        colour = OTHERS[place % len(OTHERS)]
        _line(axes, points.recall, points.precision, colour, _short(names[number]), 1.3)
    if verdicts.objects_of():
        points = curve(verdicts, verdicts.objects_of())
        _line(axes, points.recall, points.precision, theme.best, "all predictions", 2.4)
    _percent(axes, "recall", "precision", "Precision and recall")
    _legend(axes, theme)
    return figure


def by_threshold(verdicts: Verdicts, deployed: float, theme: Theme) -> Figure:
    """Precision, recall and F1 of all predictions over the score from which they are taken."""
    figure, axes = _figure(3.6, theme)
    if verdicts.objects_of():
        points = curve(verdicts, verdicts.objects_of())
        f1 = _f1(points)
        for values, colour, name, width in (
            (points.precision, OTHERS[1], "precision", 1.5),
            (points.recall, OTHERS[0], "recall", 1.5),
            (f1, theme.best, "F1", 2.4),
        ):
            _line(axes, points.score, values, colour, name, width)
        best = points.best()
        if best is not None:
            axes.plot(*best, marker="o", color=theme.best, markersize=7, zorder=4)
    axes.axvline(deployed, color=theme.ink, linewidth=1, linestyle=":", label="box_score_threshold")
    _percent(axes, "score threshold", "", "By score threshold")
    _legend(axes, theme)
    return figure


def reliability(calibration: Mapping[str, Any], theme: Theme) -> Figure:
    """Share of hits by bin of the score; what is on the diagonal could be read as a probability."""
    figure, axes = _figure(3.6, theme)
    axes.plot([0, 1], [0, 1], color=theme.ink, linewidth=1, linestyle=":", label="scores as probabilities")
    if calibration["count"]:
        axes.bar(
            calibration["score"],
            calibration["precision"],
            width=0.07,
            color=theme.other,
            label="share of hits",
        )
        axes.plot(calibration["score"], calibration["precision"], color=theme.best, marker="o", markersize=4)
    _percent(axes, "mean score of the bin", "share of hits", "Score and truth")
    _legend(axes, theme)
    return figure


def error_bars(kinds: Mapping[str, Mapping[str, float]], theme: Theme) -> Figure:
    """How much AP mending each kind of error would give."""
    figure, axes = _figure(2.6, theme)
    names = list(kinds)
    gains = [max(0.0, kinds[name]["gain"]) for name in names]
    axes.barh(range(len(names)), gains, color=theme.best, height=0.68)
    for row, (name, gain) in enumerate(zip(names, gains, strict=True)):
        text = f"+{gain:.3f}  ({kinds[name]['count']:.0f})"
        axes.text(gain, row, f" {text}", va="center", color=theme.ink, fontsize=8.5)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max([*gains, 0.01]))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("AP at IoU 0.5 that mending it would give (how many)")
    axes.set_title("Kinds of error", color=theme.ink)
    return figure


def confusion(numbers: Mapping[str, Any], theme: Theme) -> Figure:
    """The confusion matrix, shaded by the share of a row; at most LABELS classes, then the background."""
    labels, counts = numbers["labels"], np.array(numbers["matrix"], dtype=float)
    wrong = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
    classes = min(len(labels) - 1, MOST)  # what follows are the others together, and the background
    chosen = np.sort(np.argsort(-wrong[:classes], kind="stable")[:LABELS])
    index = [*chosen.tolist(), len(labels) - 1]
    counts = counts[np.ix_(index, index)]
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = max(3.4, 1.9 + 0.34 * len(index))
    figure = Figure(figsize=(max(WIDTH, size + 0.6), size), facecolor="none", layout="constrained")
    axes = figure.subplots()
    _dress(axes, theme)
    axes.grid(visible=False)
    for row, values in enumerate(share):
        for column, value in enumerate(values):
            left, right = column - 0.48, column + 0.48
            shade = 0.06 + 0.8 * value
            axes.fill_between(
                [left, right], row - 0.48, row + 0.48, color=theme.best, alpha=shade, linewidth=0
            )
            if counts[row, column]:
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color=theme.ink,
                )
    names = [_short(labels[place]) for place in index]
    axes.set_xticks(
        range(len(index)), names, rotation=60, ha="right", rotation_mode="anchor", parse_math=False
    )
    axes.set_yticks(range(len(index)), names, parse_math=False)
    axes.set_xlim(-0.5, len(index) - 0.5)
    axes.set_ylim(len(index) - 0.5, -0.5)
    axes.set_xlabel("predicted")
    axes.set_ylabel("labelled")
    axes.set_title("What is taken for what", color=theme.ink)
    return figure


def _f1(points: Curve) -> Any:
    total = points.precision + points.recall
    return np.divide(2 * points.precision * points.recall, total, out=np.zeros_like(total), where=total > 0)


def _line(axes: Axes, x: Any, y: Any, colour: str, name: str, width: float) -> None:
    keep = np.unique(np.linspace(0, max(len(x) - 1, 0), min(len(x), POINTS)).astype(int))
    axes.plot(np.asarray(x)[keep], np.asarray(y)[keep], color=colour, label=name, linewidth=width)


def _percent(axes: Axes, x: str, y: str, title: str) -> None:
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.set_title(title)


def _legend(axes: Axes, theme: Theme) -> None:
    if not axes.get_legend_handles_labels()[0]:
        return
    legend = axes.legend(
        loc="upper center",
        bbox_to_anchor=(0.5, -0.17),
        ncols=3,
        fontsize=8.5,
        frameon=False,
        labelcolor=theme.ink,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _figure(height: float, theme: Theme) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), facecolor="none", layout="constrained")
    axes = figure.subplots()
    _dress(axes, theme)
    return figure, axes


def _dress(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor("none")
    axes.tick_params(colors=theme.ink, labelsize=8.5, length=0)
    axes.grid(color=theme.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(theme.ink)
        label.set_fontsize(9)
    axes.title.set_fontsize(10)
    for side in axes.spines.values():
        side.set_visible(False)


def _short(name: str) -> str:
    # SVG is XML, which has no place for control characters.
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return plain if len(plain) <= NAME else plain[: NAME - 1] + "…"
