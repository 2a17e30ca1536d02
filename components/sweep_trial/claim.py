"""Which trial a slot runs: one that was interrupted, a new one, or none. At most one slot runs a trial.

Every step that could happen twice is decided by the storage, which finishes a trial once and hands out a
waiting one once; what a process that dies in between leaves is seen, and put right, by the next slot.
"""

import contextlib
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskline import study as noun
from maskline.artifacts import TrialDirectory


@dataclass(frozen=True)
class Times:
    """Seconds between signs of life, and after how many of silence something is done.

    Attributes:
        beat: between a trial's signs of life.
        lost: of silence after which a trial is lost. Clocks may differ by a good part of it.
        leaving: after which a trial is lost whose slot was told to go: what Kubernetes gives a pod to end,
            and what clocks may differ by.
        fence: that a slot leaves to a supervisor that was taken for lost and isn't, to end its process.
        look: between two looks.
    """

    beat: float = 30.0
    lost: float = 300.0
    leaving: float = 90.0
    fence: float = 5.0
    look: float = 1.0


_OWN = (noun.OWNER, noun.SEEN, noun.DEVICE, noun.LEAVING, noun.HANDED_OVER, noun.ENDED)
"""What is told of a process, and not of the trial that outlives it."""


def claim(
    study: optuna.Study,
    limit: int,
    deaths: int,
    times: Times,
    open_: Callable[[], bool] = lambda: True,
    *,
    signs: "Signs | None" = None,
    new: bool = True,
) -> optuna.Trial | None:
    """Take a trial to run: an interrupted one first, else a new one.

    Args:
        study: the study; its sampler is asked for a new trial's values.
        limit: trials of the sweep.
        deaths: processes that a trial may lose; with the last one it has failed.
        times: when a trial is taken for lost.
        open_: whether a trial may still begin.
        signs: what this slot has seen of others' trials so far.
        new: whether to begin one that nobody has begun.

    Returns:
        A trial that nobody else runs, with its number set; None when there is nothing to do.
    """
    signs = signs or Signs()
    while open_():
        reclaim(study, deaths, times, signs)
        _continue_interrupted(study, limit)
        trials = study.get_trials(deepcopy=False)
        left = noun.started_trials(trials) < limit
        if any(trial.state == TrialState.WAITING for trial in trials) or (new and left):
            trial = study.ask()
            if _legitimate(study, trial, limit):
                return trial
        elif not left and any(signs.doubt(t, times) for t in trials if t.state == TrialState.RUNNING):
            time.sleep(times.look)
        else:
            break
    return None


class Signs:
    """Signs of life of trials, as a slot has seen them by its own clock.

    Silence alone is no proof: clocks differ, and a database that was away kept everybody silent. So a slot
    takes a silent trial only after it has waited in vain for two of its signs.
    """

    def __init__(self) -> None:
        self._last: dict[int, tuple[object, float, bool]] = {}

    def _look(self, trial: FrozenTrial) -> tuple[float, bool]:
        """Seconds since the last sign was seen first, and whether it is another than at the first look."""
        sign, now = trial.user_attrs.get(noun.SEEN), time.monotonic()
        known = self._last.get(trial.number)
        if known is None or known[0] != sign:
            known = self._last[trial.number] = (sign, now, known is not None)
        return now - known[1], known[2]

    def lost(self, trial: FrozenTrial, times: Times) -> bool:
        """Whether nobody supervises a trial any more that runs."""
        waited, _ = self._look(trial)
        if _gone(trial.user_attrs.get(noun.OWNER, "")):
            return True
        if time.time() - float(trial.user_attrs.get(noun.LEAVING, math.inf)) > times.leaving:
            return True
        return _silence(trial) > times.lost and waited > 2 * times.beat

    def doubt(self, trial: FrozenTrial, times: Times) -> bool:
        """Whether it's open if a trial that runs is lost: a slot that has nothing else to do waits for a sign
        of one elsewhere, since it may be the last slot, and all others wait for the trial too.
        """
        waited, alive = self._look(trial)
        if noun.LEAVING in trial.user_attrs or _silence(trial) > times.lost:
            return True
        elsewhere = _here(trial.user_attrs.get(noun.OWNER, "")) is None
        return elsewhere and not (alive and waited <= 2 * times.beat)


def reclaim(study: optuna.Study, deaths: int, times: Times, signs: Signs) -> list[int]:
    """End trials whose supervisor is gone; of several processes that do so at once, one succeeds.

    Returns:
        Optuna's numbers of the trials that this process ended.
    """
    ended = []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not signs.lost(trial, times):
            continue
        # A pod that had to go is nothing that the trial has done.
        if give_up(study, trial, **({} if noun.LEAVING in trial.user_attrs else _death(trial, deaths))):
            ended.append(trial.number)
    return ended


def give_up(study: optuna.Study, trial: FrozenTrial | optuna.Trial, **attributes: object) -> bool:
    """End one of Optuna's trials without a result: to be continued, or, with a reason, failed for good.

    Args:
        study: the study.
        trial: a trial that runs.
        **attributes: of the trial, to be written down first.

    Returns:
        Whether it was this process that ended it.
    """
    try:
        for name, value in attributes.items():
            study._storage.set_trial_user_attr(trial._trial_id, name, value)
        study.tell(trial.number, state=TrialState.FAIL)
    except (UpdateFinishedTrialError, ValueError):  # somebody was faster
        return False
    return True


def process_name(pid: int) -> str:
    """A process of this machine: machine, number, and start, since numbers are given again."""
    return f"{_machine()}:{pid}:{_birth(pid)}"


def _machine() -> str:
    """This machine, or this container: process numbers mean something only here."""
    return f"{socket.gethostname()}/{os.readlink('/proc/self/ns/pid')}"


def _here(process: str) -> tuple[int, bool] | None:
    """Number of a process of this machine, and whether it lives; nothing is known of those elsewhere."""
    machine, _, rest = process.rpartition("]:")
    number, _, birth = rest.partition(":")
    return (int(number), _birth(int(number)) == birth) if f"{machine}]" == _machine() else None


def _gone(process: str) -> bool:
    """Whether a process is known to be dead."""
    known = _here(process)
    return known is not None and not known[1]


def fence(study: optuna.Study, trial: optuna.Trial, files: TrialDirectory, times: Times) -> None:
    """See to it that nobody trains any more what this trial continues."""
    before = trial.user_attrs.get(noun.CONTINUES)
    if before is None:
        return
    attributes = study.get_trials(deepcopy=False)[before].user_attrs
    left = _here(files.process.read_text(encoding="utf-8")) if files.process.exists() else None
    if left is not None and left[1]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(left[0], signal.SIGKILL)  # its supervisor was killed, and it not yet
    if noun.HANDED_OVER not in attributes and not _gone(attributes.get(noun.OWNER, "")):
        time.sleep(times.fence)


def _birth(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty if there is none, or only its remains."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _silence(trial: FrozenTrial) -> float:
    began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return time.time() - float(trial.user_attrs.get(noun.SEEN, began))


def _death(trial: FrozenTrial, most: int) -> dict[str, object]:
    """What is written down of a trial that was lost."""
    lost = trial.user_attrs.get(noun.DEATHS, 0) + 1
    if lost < most:
        return {noun.DEATHS: lost}
    return {noun.DEATHS: lost, noun.REASON: too_often(lost)}


def too_often(deaths: int) -> str:
    """Why a trial has failed for good whose process died too often."""
    return f"its process was killed or lost {deaths} times; limits.max_process_deaths allows no more"


def _continue_interrupted(study: optuna.Study, limit: int) -> None:
    """Every interrupted trial gets a continuation, which waits for whoever asks next."""
    trials = study.get_trials(deepcopy=False)
    for number, trial in noun.latest(trials):
        if number >= limit or not noun.interrupted(trial):
            continue
        kept = {k: v for k, v in trial.user_attrs.items() if k not in _OWN}
        study.add_trial(
            create_trial(
                state=TrialState.WAITING,
                system_attrs={"fixed_params": dict(trial.params)},
                user_attrs=kept | {noun.NUMBER: number, noun.CONTINUES: trial.number},
            )
        )


def _legitimate(study: optuna.Study, trial: optuna.Trial, limit: int) -> bool:
    """Whether a trial that was asked for may run; if so, it is marked as this process's."""
    trials = study.get_trials(deepcopy=False)
    own = trials[trial.number]
    if (before := own.user_attrs.get(noun.CONTINUES)) is not None:
        first = noun.continuation(trials[before], trials)
        number, right = own.user_attrs[noun.NUMBER], first is not None and first.number == trial.number
    else:
        number, right = noun.number_of(study, own), True
    if not right or number >= limit:
        give_up(study, trial, **{noun.VOID: True})
        return False
    try:
        trial.set_user_attr(noun.OWNER, process_name(os.getpid()))
        trial.set_user_attr(noun.SEEN, time.time())
        trial.set_user_attr(noun.NUMBER, number)
    except UpdateFinishedTrialError:  # this process was asleep for so long that another took it for lost
        return False
    return True
