"""What a person sees of a run: stages and a table of trials, live in a terminal, line by line elsewhere."""

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from maskline.artifacts import TrialRecord

from .local_runner import Progress

MARKS = {"waiting": ("·", "dim"), "running": ("▶", "cyan"), "done": ("✔", "green"), "failed": ("✘", "red")}
STATES = {"waiting": "dim", "running": "cyan", "complete": "green", "terminated": "yellow", "failed": "red"}


class Display:
    """Shows a run's progress on a console; use it as a context manager and call it as `watch`."""

    def __init__(self, console: Console, trials: int) -> None:
        self._console = console
        self._trials = trials
        self._live = Live(console=console, refresh_per_second=2) if console.is_terminal else None
        self._said: set[str] = set()

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show how far the run is."""
        if self._live:
            self._live.update(_page(progress, self._trials))
            return
        for line in _lines(progress):
            if line not in self._said:
                self._said.add(line)
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def _lines(progress: Progress) -> Iterator[str]:
    """What has happened so far, a line an event."""
    for name, state in progress.stages.items():
        if state != "waiting":
            yield f"{name}: {state}"
        if name == "sweep_trial":
            for trial in progress.trials:
                yield from _trial_lines(trial)


def _trial_lines(trial: TrialRecord) -> Iterator[str]:
    name = f"  trial {trial.number}"
    yield f"{name}: started {_parameters(trial)}".rstrip()
    for epoch, score in trial.curve:
        yield f"{name}: epoch {epoch} of {trial.epochs}, score {score:.4f}"
    if trial.state == "complete" and trial.score is not None:
        yield f"{name}: complete, best score {trial.score:.4f} in epoch {trial.best_epoch}"
    if trial.state in ("failed", "terminated") and trial.reason:
        yield f"{name}: {trial.state}, {trial.reason}"


def _page(progress: Progress, trials: int) -> RenderableType:
    stages = Text("  ")
    for name, state in progress.stages.items():
        mark, style = MARKS[state]
        stages.append(f"{mark} {name}   ", style=style)
    minutes, seconds = divmod(int(progress.seconds), 60)
    stages.append(f"{minutes}:{seconds:02d}", style="dim")
    if not progress.trials:
        return stages
    table = trial_table(progress.trials)
    ended = sum(t.state not in ("running", "waiting") for t in progress.trials)
    table.title = f"{ended} of {trials} trials ended"
    return Group(stages, Text(), table)


def trial_table(trials: Sequence[TrialRecord]) -> Table:
    """A row a trial: its state, epochs, last and best score, time left, GPU, and parameters or reason."""
    table = Table(box=None, padding=(0, 1), title_justify="left", title_style="bold")
    best = max((t.score for t in trials if t.score is not None), default=None)
    gpus = any(trial.device for trial in trials)
    for column in ("trial", "state", "epoch", "score", "best", "left", *(["GPU"] if gpus else [])):
        table.add_column(column, overflow="fold")
    table.add_column("parameters", overflow="fold")
    for trial in trials:
        table.add_row(*_row(trial, best, gpus))
    return table


def _row(trial: TrialRecord, best: float | None, gpus: bool) -> list[RenderableType]:
    score = "" if not trial.curve else f"{trial.curve[-1][1]:.4f}"
    top = "" if trial.score is None else f"{trial.score:.4f}"
    return [
        str(trial.number),
        Text(trial.state, style=STATES[trial.state]),
        f"{trial.epochs_done}/{trial.epochs}" if trial.epochs else "",
        score,
        Text(top, style="bold green" if trial.score is not None and trial.score == best else ""),
        _left(trial),
        *([trial.device.removeprefix("GPU ")] if gpus else []),
        trial.reason or _parameters(trial),
    ]


def _left(trial: TrialRecord) -> str:
    """Time that the rest of a trial takes, if its epochs take as long as they did."""
    if trial.state != "running" or not trial.epochs_done:
        return ""
    seconds = int(trial.seconds / trial.epochs_done * (trial.epochs - trial.epochs_done))
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def _parameters(trial: TrialRecord) -> str:
    return ", ".join(
        f"{name}={value:.4g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in trial.parameters.items()
    )
