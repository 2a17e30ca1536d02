"""The trials of a run in the cluster, as their slots' logs tell of them: no way to the database is needed."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace

from maskline.artifacts import TRIAL_RECORD, TrialRecord

from .kept_logs import Log

_EPOCH = re.compile(r"^epoch (\d+): (?:.*\bscore ([-+.\de]+))?(?:.*\bseconds ([-+.\de]+))?")


def read_trials(logs: Iterable[Log]) -> list[TrialRecord]:
    """What slots said of their trials, by number.

    Args:
        logs: of the slots, in the order in which they began.

    Returns:
        Records; a trial whose slot has ended without telling an end waits for another slot.
    """
    found: dict[int, TrialRecord] = {}
    for log in logs:
        number = None
        for line in log.text.splitlines():
            if line.startswith(TRIAL_RECORD):
                told = TrialRecord.from_json(json.loads(line.removeprefix(TRIAL_RECORD)))
                number = told.number
                found[number] = _joined(found.get(number), told)
            elif number is not None and (epoch := _EPOCH.match(line)):
                found[number] = _advanced(found[number], epoch)
        if log.ended and number is not None and found[number].state == "running":
            found[number] = replace(found[number], state="waiting")
    return [found[number] for number in sorted(found)]


def _joined(before: TrialRecord | None, told: TrialRecord) -> TrialRecord:
    """A record at its beginning keeps what an earlier slot said of the trial; at its end it is complete."""
    if before is None or told.state != "running":
        return told
    return replace(before, state="running")


def _advanced(trial: TrialRecord, epoch: re.Match[str]) -> TrialRecord:
    number = int(epoch[1])
    curve = tuple(point for point in trial.curve if point[0] < number)
    if epoch[2]:
        curve = (*curve, (number, float(epoch[2])))
    best = max(curve, key=lambda point: (point[1], -point[0]), default=(None, None))
    seconds = float(epoch[3]) if epoch[3] else trial.seconds
    return replace(trial, curve=curve, epochs_done=number, score=best[1], best_epoch=best[0], seconds=seconds)
