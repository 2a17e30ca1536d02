"""The ranking of a sweep's trials, as rows of a table.

The highest score wins. Of equal scores the earlier trial wins: it is the one that a longer sweep, or one
without the later trial, would have found as well. Ranked are trials that are complete or were ended early by
the sweep's policy, and have a finite score: both have a checkpoint of their best epoch.
"""

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .artifacts import TrialRecord

COLUMNS = ("rank", "trial", "state", "score", "best_epoch", "epochs_done", "epochs", "seconds")
"""The columns before those of the varied parameters; `reason` is the last one."""


def eligible(trial: TrialRecord) -> bool:
    """Whether a trial can be chosen: complete or terminated, with a score that is a number."""
    ended = trial.state in ("complete", "terminated")
    return ended and trial.score is not None and math.isfinite(trial.score)


def ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    """The eligible trials, best first; then the others, by number."""
    good = sorted((t for t in trials if eligible(t)), key=lambda t: (-(t.score or 0.0), t.number))
    return good + sorted((t for t in trials if not eligible(t)), key=lambda t: t.number)


def tied(trials: Sequence[TrialRecord], best: TrialRecord) -> list[int]:
    """Numbers of the other eligible trials that have the best trial's score."""
    return [
        t.number for t in ranked(trials) if eligible(t) and t.score == best.score and t.number != best.number
    ]


def unfinished(trials: Sequence[TrialRecord]) -> str:
    """What to do about trials that were interrupted and that no slot continued; empty if there are none."""
    left = [str(trial.number) for trial in trials if trial.state in ("waiting", "running")]
    if not left:
        return ""
    return (
        f"Interrupted, and no slot was left to continue them: trials {', '.join(left)}. They don't count; "
        "another run of this job with the same run_name goes on from their checkpoints (on one machine: "
        "`maskline run --resume`)."
    )


def varied(trials: Sequence[TrialRecord]) -> list[str]:
    """Names of the parameters that the sampler chose, in order of first appearance."""
    return list(dict.fromkeys(name for trial in trials for name in trial.parameters))


def rows(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """One row a trial, best first: COLUMNS, the varied parameters, reason.

    What a trial doesn't have is None. A parameter with the name of a column is called `parameter.NAME`.
    """
    names = varied(trials)
    return [
        {
            "rank": position if eligible(trial) else None,
            "trial": trial.number,
            "state": trial.state,
            "score": trial.score,
            "best_epoch": trial.best_epoch,
            "epochs_done": trial.epochs_done,
            "epochs": trial.epochs,
            "seconds": round(trial.seconds, 1),
            **{_column(name): trial.parameters.get(name) for name in names},
            "reason": trial.reason,
        }
        for position, trial in enumerate(ranked(trials), start=1)
    ]


def write_csv(trials: Sequence[TrialRecord], path: Path) -> None:
    """Write `rows` as CSV (UTF-8); what a trial doesn't have is an empty cell."""
    header = [*COLUMNS, *(_column(name) for name in varied(trials)), "reason"]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=header)
        writer.writeheader()
        writer.writerows(rows(trials))


def _column(name: str) -> str:
    return f"parameter.{name}" if name in (*COLUMNS, "reason") else name
