"""The best model of a sweep, and the table that shows why it is the best."""

import json
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from maskline import storage
from maskline.artifacts import (
    BEST,
    CHECKPOINT,
    LABELS,
    LEADERBOARD,
    LEADERBOARD_PICTURE,
    LOG,
    TRIALS,
    TrialRecord,
)
from maskline.charts import render, sweep_picture
from maskline.errors import NoModelError
from maskline.leaderboard import eligible, ranked, tied, unfinished, write_csv

log = logging.getLogger(__name__)


def select(
    trials: Sequence[TrialRecord],
    out_leaderboard: Path,
    out_model: Path,
    *,
    classes: Sequence[str],
    metric: str = "primary metric",
) -> TrialRecord:
    """Choose the best trial; write the leaderboard and copy the trial's best checkpoint.

    The highest score wins; of equal scores the earlier trial. A trial whose checkpoint is gone is passed
    over. Both are said in the trial's `reason`, in the leaderboard and in the log.

    Args:
        trials: every trial of the sweep.
        out_leaderboard: folder for leaderboard.csv, leaderboard.png and trials.json; made if absent. It is
            written even when no trial can be chosen.
        out_model: folder for checkpoint.safetensors and labels.json; made if absent.
        classes: names of the classes, for labels.json.
        metric: name of the score, for the picture.

    Returns:
        The chosen trial.

    Raises:
        NoModelError: no trial has a score and a checkpoint; lists the causes.
        StorageError: the store that holds the checkpoints can't be reached.
    """
    judged = [_without_checkpoint(trial) for trial in trials]
    best = next((trial for trial in ranked(judged) if eligible(trial)), None)
    if best is not None:
        best = replace(best, reason=_why(best, judged))
        judged = [best if trial.number == best.number else trial for trial in judged]
        log.info("trial %d is chosen: %s", best.number, best.reason)
    if left := unfinished(judged):
        log.warning(left)
    _write_leaderboard(judged, best, out_leaderboard, metric)
    if best is None:
        raise NoModelError(_causes(judged))
    out_model.mkdir(parents=True, exist_ok=True)
    storage.fetch(storage.join(best.directory, BEST), out_model / CHECKPOINT)
    _write_json(out_model / LABELS, list(classes))
    return best


def _without_checkpoint(trial: TrialRecord) -> TrialRecord:
    """The trial; one that could be chosen but for its checkpoint becomes a failed one."""
    if not eligible(trial):
        return trial
    checkpoint = storage.join(trial.directory, BEST)
    if storage.exists(checkpoint):
        return trial
    reason = f"passed over: its checkpoint {checkpoint} is missing"
    log.warning("trial %d (score %.4f) is %s", trial.number, trial.score, reason)
    return replace(trial, state="failed", reason=reason)


def _why(best: TrialRecord, trials: Sequence[TrialRecord]) -> str:
    equals = tied(trials, best)
    if equals:
        names = "trial " + ", ".join(str(number) for number in equals)
        return f"best score, shared with {names}; the earlier trial wins"
    return "best score"


def _write_leaderboard(
    trials: Sequence[TrialRecord], best: TrialRecord | None, folder: Path, metric: str
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(trials, folder / LEADERBOARD)
    _write_json(folder / TRIALS, [trial.to_json() for trial in trials])
    (folder / LEADERBOARD_PICTURE).write_bytes(render(sweep_picture(trials, best, metric), "png"))


def _write_json(path: Path, data: object) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _causes(trials: Sequence[TrialRecord]) -> str:
    """The causes of all failures, the commonest first, each with its trials."""
    if not trials:
        return (
            "the sweep ran no trial, so there is no model; raise limits.max_trials or limits.timeout_minutes"
        )
    numbers: dict[str, list[str]] = defaultdict(list)
    for trial in trials:
        numbers[_cause(trial)].append(str(trial.number))
    by_count = sorted(numbers.items(), key=lambda item: -len(item[1]))
    lines = [f"  {len(which)} x {cause} (trial {', '.join(which)})" for cause, which in by_count]
    logs = next((storage.join(t.directory, LOG) for t in trials if t.directory), "")
    where = f", and read the trials' logs, such as {logs}" if logs else ""
    head = f"none of {len(trials)} trials gave a model; remove the causes{where}:"
    return "\n".join([head, *lines])


def _cause(trial: TrialRecord) -> str:
    if trial.state in ("running", "waiting"):
        return f"still {trial.state} when the sweep ended"
    if trial.state == "complete" and not eligible(trial):
        return f"complete, but score={trial.score} is not a number"
    return trial.reason or "failed without a reason"
