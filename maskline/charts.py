"""Pictures of a sweep: the score of each trial, and how it came about.

Drawn with matplotlib's object interface: no global state, so any thread may draw. Colours are those of
Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind people tell apart.
"""

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator

from .artifacts import TrialRecord
from .leaderboard import eligible, ranked, varied

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
"""Okabe and Ito's colours without yellow, which is lost on white."""
MARKERS = "os^Dv<>"
WIDTH = 5.0
"""Inches; letters of 9 points then stay readable on a phone and don't shout on a desk."""
BARS = 30
"""How many trials a chart of bars shows: the best."""
AXES = 8
"""How many parameters a chart of parallel coordinates shows."""
LEAST_TRIALS = 8
"""From how many trials on something is said of the importance of parameters."""
QUARTERS = 4


@dataclass(frozen=True)
class Theme:
    """Colours of what isn't data. `paper` None is transparent."""

    ink: str
    faint: str
    paper: str | None
    best: str
    other: str


LIGHT = Theme(ink="#24292f", faint="#d0d7de", paper=None, best="#0072B2", other="#9dbfd6")
DARK = Theme(ink="#d6dde6", faint="#3a424d", paper=None, best="#56B4E9", other="#3f6d8c")
PAPER = Theme(ink="#24292f", faint="#d0d7de", paper="#ffffff", best="#0072B2", other="#9dbfd6")


def score_bars(
    trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme = LIGHT
) -> Figure:
    """One bar a trial, best on top, the chosen one strong; trials without a score are marked with a cross."""
    figure, axes = _figure(WIDTH, 0.9 + 0.28 * min(len(trials), BARS), theme)
    draw_bars(axes, trials, best, metric, theme)
    return figure


def score_curves(
    trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme = LIGHT
) -> Figure:
    """The score of each trial by epoch, the chosen one strong."""
    figure, axes = _figure(WIDTH, 3.8, theme)
    draw_curves(axes, trials, best, metric, theme)
    return figure


def sweep_picture(trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str) -> Figure:
    """Bars and curves side by side, on white."""
    height = max(3.6, 0.9 + 0.28 * min(len(trials), BARS))
    figure = Figure(figsize=(12, height), facecolor=PAPER.paper, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        _dress(axes, PAPER)
    draw_bars(left, trials, best, metric, PAPER)
    draw_curves(right, trials, best, metric, PAPER)
    return figure


def draw_bars(
    axes: Axes, trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme
) -> None:
    """See `score_bars`."""
    shown = ranked(trials)[:BARS]
    scores = [trial.score if eligible(trial) else None for trial in shown]
    axes.barh(
        range(len(shown)),
        [score or 0.0 for score in scores],
        color=[theme.best if _same(trial, best) else theme.other for trial in shown],
        height=0.72,
    )
    for row, (trial, score) in enumerate(zip(shown, scores, strict=True)):
        if score is None:
            axes.plot([0.012], [row], marker="x", color="#D55E00", markersize=6, markeredgewidth=1.8)
            label = trial.state + (f": {_clip(trial.reason, 36)}" if trial.reason else "")
            axes.text(0.035, row, label, va="center", color=theme.ink, fontsize=8.5, parse_math=False)
        else:
            weight = "bold" if _same(trial, best) else "normal"
            axes.text(
                score + 0.01, row, f"{score:.3f}", va="center", color=theme.ink, fontsize=8.5, weight=weight
            )
    axes.set_yticks(range(len(shown)), [f"trial {trial.number}" for trial in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, min(1.12, max(0.2, 1.15 * max([s for s in scores if s is not None], default=1.0))))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlabel(metric, parse_math=False)
    axes.grid(axis="y", visible=False)
    rest = len(trials) - len(shown)
    axes.set_title(f"Score by trial{f' (the best {BARS}; {rest} more)' if rest else ''}", color=theme.ink)


def draw_curves(
    axes: Axes, trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme
) -> None:
    """See `score_curves`."""
    order = [trial for trial in ranked(trials) if trial.curve]
    few = len(order) <= len(PALETTE)
    for place, trial in reversed(list(enumerate(order))):
        epochs, scores = zip(*trial.curve, strict=True)
        chosen = _same(trial, best)
        label = f"trial {trial.number}" + ("" if eligible(trial) else f" ({trial.state})")
        axes.plot(
            epochs,
            scores,
            color=theme.best if chosen else _colour(place, theme) if few else theme.other,
            marker=MARKERS[place] if few else None,
            markersize=4,
            linewidth=2.4 if chosen else 1.3,
            linestyle="-" if eligible(trial) else "--",
            label=label if few or chosen else None,
            zorder=3 if chosen else 2,
        )
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric, parse_math=False)
    axes.set_ylim(bottom=0)
    axes.set_title("Score by epoch", color=theme.ink)
    if order:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(
            handles[::-1],
            labels[::-1],
            loc="upper center",
            bbox_to_anchor=(0.5, -0.16),
            ncols=4,
            fontsize=8.5,
            frameon=False,
            labelcolor=theme.ink,
        )
    else:
        axes.text(0.5, 0.5, "no trial was evaluated", transform=axes.transAxes, ha="center", color=theme.ink)


def sweep_history(
    trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme = LIGHT
) -> Figure:
    """The score of each trial by its number, and the best so far as a line; crosses have no score."""
    figure, axes = _figure(WIDTH, 3.2, theme)
    scored = [trial for trial in trials if trial.score is not None and eligible(trial)]
    for trial in scored:
        colour = theme.best if _same(trial, best) else theme.other
        marker = "o" if trial.state == "complete" else "v"
        axes.plot([trial.number], [trial.score or 0.0], marker=marker, color=colour, markersize=6, zorder=3)
    rest = [trial.number for trial in trials if not eligible(trial)]
    axes.plot(rest, [0.0] * len(rest), "x", color="#D55E00", clip_on=False, zorder=3)
    so_far = [max(t.score or 0.0 for t in scored[: place + 1]) for place in range(len(scored))]
    axes.step([t.number for t in scored], so_far, where="post", color=theme.ink, linewidth=1.2)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(0, 1.08 * max(so_far, default=1.0) or 1.0)
    axes.set_xlabel("trial")
    axes.set_ylabel(metric, parse_math=False)
    axes.set_title("Score by trial, and the best so far", color=theme.ink)
    return figure


def parallel_coordinates(
    trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme = LIGHT
) -> Figure:
    """A line a trial through its parameters to its score; parameters over orders of magnitude are spread."""
    shown = [trial for trial in trials if eligible(trial)]
    names = [name for name in varied(shown) if len({str(t.parameters.get(name)) for t in shown}) > 1]
    names = names[:AXES]
    figure, axes = _figure(max(WIDTH, 1.15 * (len(names) + 1)), 3.6, theme)
    columns = [[trial.parameters.get(name) for trial in shown] for name in names]
    heights = [_heights(column) for column in columns] + [_heights([trial.score for trial in shown])]
    for row, trial in sorted(enumerate(shown), key=lambda item: _same(item[1], best)):
        line = [column[row] for column in heights]
        chosen = _same(trial, best)
        colour, width = (theme.best, 2.4) if chosen else (theme.other, 1.1)
        axes.plot(
            range(len(line)), line, color=colour, linewidth=width, marker=".", zorder=3 if chosen else 2
        )
    for place, column in enumerate([*columns, [trial.score for trial in shown]]):
        for value, height in {(_short(v), h) for v, h in zip(column, heights[place], strict=True)}:
            if height in (0.0, 1.0) or not isinstance(column[0], int | float):
                side = "top" if height == 0 else "bottom"  # beside the lines, not on them
                axes.text(place + 0.04, height, value, fontsize=8, color=theme.ink, va=side, parse_math=False)
    axes.set_xticks(range(len(names) + 1), [*(name.replace("_", "\n") for name in names), metric])
    axes.set_yticks([])
    axes.set_title("Parameters of each trial" if shown else "no trial has a score", color=theme.ink)
    return figure


def parameter_importance(trials: Sequence[TrialRecord], theme: Theme = LIGHT) -> Figure:
    """How much of the scores' variance each parameter explains by itself: see `importance`."""
    found = sorted(importance(trials).items(), key=lambda item: item[1])
    figure, axes = _figure(WIDTH, 1.2 + 0.28 * max(1, len(found)), theme)
    axes.barh([name for name, _ in found], [share for _, share in found], color=theme.other, height=0.72)
    axes.set_xlim(0, 1)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of the scores' variance")
    few = f"at least {LEAST_TRIALS} trials with a score are needed"
    axes.set_title("What made the difference" if found else few, color=theme.ink)
    return figure


def importance(trials: Sequence[TrialRecord]) -> dict[str, float]:
    """Share of the scores' variance that a parameter explains by itself, 0 to 1; empty for too few trials.

    Epsilon squared of a one-way analysis of variance: numbers are grouped by their quartiles, words by
    themselves. Unlike eta squared it is 0 on average for a parameter that changes nothing.
    Source: T. L. Kelley, An unbiased correlation ratio measure, PNAS 21 (1935).
    """
    shown = [trial for trial in trials if eligible(trial)]
    if len(shown) < LEAST_TRIALS:
        return {}
    found = {}
    for name in varied(shown):
        pairs = [(t.parameters[name], t.score or 0.0) for t in shown if name in t.parameters]
        groups = _groups(pairs)
        scores = [score for _, score in pairs]
        if not 1 < len(groups) < len(scores):
            continue
        total = sum((score - fmean(scores)) ** 2 for score in scores)
        inside = sum((score - fmean(group)) ** 2 for group in groups for score in group)
        within = inside / (len(scores) - len(groups))
        found[name] = max(0.0, (total - inside - (len(groups) - 1) * within) / total) if total else 0.0
    return found


def early_termination(
    trials: Sequence[TrialRecord], best: TrialRecord | None, metric: str, theme: Theme = LIGHT
) -> Figure:
    """The score of each trial by epoch; where a policy ended one stands a cross. The title counts epochs."""
    figure, axes = _figure(WIDTH, 3.4, theme)
    for trial in trials:
        if not trial.curve:
            continue
        epochs, scores = zip(*trial.curve, strict=True)
        chosen = _same(trial, best)
        colour = theme.best if chosen else theme.other
        axes.plot(epochs, scores, color=colour, linewidth=2.4 if chosen else 1.1, zorder=3 if chosen else 2)
        if trial.state == "terminated":
            axes.plot(epochs[-1], scores[-1], marker="x", color="#D55E00", markersize=6, zorder=4)
    done, whole = sum(t.epochs_done for t in trials), sum(t.epochs for t in trials)
    ended = sum(trial.state == "terminated" for trial in trials)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric, parse_math=False)
    share = f": {done} of {whole} epochs ({done / whole:.0%})" if whole else ""
    axes.set_title(f"{ended} of {len(trials)} ended early{share}", color=theme.ink)
    return figure


def _groups(pairs: Sequence[tuple[Any, float]]) -> list[list[float]]:
    """Scores by the value of a parameter; numbers of many values by their quartiles."""
    values = sorted({value for value, _ in pairs}, key=lambda value: (str(type(value)), value))
    if len(values) > QUARTERS and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        order = sorted(value for value, _ in pairs)
        borders = [order[len(order) * part // QUARTERS] for part in range(1, QUARTERS)]
        keys = [sum(value >= border for border in borders) for value, _ in pairs]
    else:
        keys = [values.index(value) for value, _ in pairs]
    return [[s for key, (_, s) in zip(keys, pairs, strict=True) if key == one] for one in sorted(set(keys))]


def _heights(column: Sequence[Any]) -> list[float]:
    """Where values stand on an axis from 0 to 1: numbers by size, all else in order."""
    numbers = [v for v in column if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) < len(column):
        words = sorted({str(value) for value in column})
        return [words.index(str(value)) / max(1, len(words) - 1) for value in column]
    if numbers and min(numbers) > 0 and max(numbers) / min(numbers) > 10:
        numbers = [math.log(number) for number in numbers]
    low, high = min(numbers, default=0), max(numbers, default=1)
    return [(number - low) / (high - low) if high > low else 1.0 for number in numbers]


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else _clip(str(value).removeprefix("maskrcnn_"), 15)


def render(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """A figure as a file: PNG of 150 dots an inch, or SVG with its letters as outlines.

    Where matplotlib's font lacks a letter, as those of Chinese, all letters of an SVG are text, for which the
    browser has its fonts.
    """
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else None
    letters = {letter for text in figure.findobj(Text) for letter in text.get_text() if letter.isprintable()}
    kind = "path" if letters <= _drawable() else "none"
    with matplotlib.rc_context({"svg.fonttype": kind}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.savefig(buffer, format=form, dpi=150, metadata=metadata)
    return buffer.getvalue()


@cache
def _drawable() -> set[str]:
    """The letters that matplotlib's font has."""
    return {chr(code) for code in get_font(findfont("DejaVu Sans")).get_charmap()}


def _figure(width: float, height: float, theme: Theme) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), facecolor=theme.paper or "none", layout="constrained")
    axes = figure.subplots()
    _dress(axes, theme)
    return figure, axes


def _dress(axes: Axes, theme: Theme) -> None:
    axes.set_facecolor(theme.paper or "none")
    axes.tick_params(colors=theme.ink, labelsize=8.5, length=0)
    axes.grid(color=theme.faint, linewidth=0.7)
    axes.set_axisbelow(True)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(theme.ink)
        label.set_fontsize(9)
    axes.title.set_fontsize(10)
    for side in axes.spines.values():
        side.set_visible(False)


def _colour(place: int, theme: Theme) -> str:
    """A colour that isn't the chosen trial's."""
    others = [colour for colour in PALETTE if colour != theme.best]
    return others[place % len(others)]


def _same(trial: TrialRecord, best: TrialRecord | None) -> bool:
    return best is not None and trial.number == best.number


def _clip(text: str, length: int) -> str:
    # SVG is XML, which has no place for control characters.
    plain = "".join(letter if letter.isprintable() else " " for letter in text)
    return plain if len(plain) <= length else plain[: length - 1] + "…"
