"""Pictures of a sweep: the score of each trial, and how it came about.

Drawn with matplotlib's object interface: no global state, so any thread may draw. Colours are those of
Okabe and Ito (https://jfly.uni-koeln.de/color/), which colour-blind people tell apart.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .artifacts import TrialRecord
from .leaderboard import eligible, ranked

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999")
"""Okabe and Ito's colours without yellow, which is lost on white."""
MARKERS = "os^Dv<>"
WIDTH = 5.0
"""Inches; letters of 9 points then stay readable on a phone and don't shout on a desk."""
BARS = 30
"""How many trials a chart of bars shows: the best."""


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


def render(figure: Figure, form: Literal["png", "svg"]) -> bytes:
    """A figure as a file: PNG of 150 dots an inch, or SVG with its letters as outlines."""
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    metadata = {"Date": None} if form == "svg" else None
    figure.savefig(buffer, format=form, dpi=150, metadata=metadata)
    return buffer.getvalue()


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
