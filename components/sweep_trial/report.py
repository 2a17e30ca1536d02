"""What a trial tells the study while it trains: signs of life, scores, and whether it is to be ended.

All talk with the storage is in a thread of its own, so that training goes on while the storage is away. The
training process's metrics file is the buffer: what was not delivered is still in it.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from maskline import study as noun
from maskline.study_storage import AWAY, persistently
from maskline.sweep import EarlyTerminationPolicy

from .claim import Times
from .early_termination import why_ended


class Reporter(threading.Thread):
    """Delivers what stands in a metrics file.

    Attributes:
        lost: set when the trial is no longer this process's: another supervisor took its place.
        verdict: why the early-termination policy ends the trial; empty while it doesn't.
    """

    def __init__(
        self,
        study: optuna.Study,
        trial: optuna.Trial,
        metrics: Path,
        policy: EarlyTerminationPolicy | None,
        times: Times,
    ) -> None:
        super().__init__(daemon=True)
        self.lost = threading.Event()
        self.verdict = ""
        self._study, self._trial, self._metrics = study, trial, metrics
        self._policy, self._times = policy, times
        self._ended = threading.Event()
        self._size, self._delivered = -1, 0
        self._beaten = time.monotonic()
        self._before = float(trial.user_attrs.get(noun.PROGRESS, {}).get("seconds", 0.0))
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Spent on the trial so far, by former supervisors too."""
        return round(self._before + time.monotonic() - self._began, 1)

    def leave(self) -> None:
        """Say that this process has to go, and may not come to say more; without waiting for the storage.

        In a pod of KFP it has a second at most from SIGTERM on: KFP's launcher dies of the signal, and Argo's
        emissary, process 1, which looks once a second, ends when it sees that. Another slot takes the trial
        then without waiting for long, from the checkpoint before if there was no time for one.
        """
        threading.Thread(target=self._say_leaving, daemon=True).start()

    def _say_leaving(self) -> None:
        with contextlib.suppress(*AWAY):  # its silence will tell
            self._guarded(lambda: self._trial.set_user_attr(noun.LEAVING, time.time()))

    def run(self) -> None:
        """Deliver until the trial ends, is lost, or another thread calls `finish`."""
        away = False
        while not self._ended.wait(self._times.look) and not self.lost.is_set():
            try:
                self._once()
                away = False
            except AWAY as error:
                if not away:
                    print(f"the study can't be reached, training goes on: {error}", flush=True)
                away = True

    def finish(self, patience: float) -> None:
        """Deliver what is left; waits for a storage that is away.

        Raises:
            StorageInternalError, SQLAlchemyError, OSError: it is still away when patience is over.
        """
        self._ended.set()
        self.join(patience)
        if self.is_alive():
            raise TimeoutError(f"the study has not answered for {patience:g} s")
        if not self.lost.is_set():
            self._size = -1
            persistently(self._deliver, patience)

    def _once(self) -> None:
        if time.monotonic() - self._beaten >= self._times.beat:
            self._guarded(lambda: self._trial.set_user_attr(noun.SEEN, time.time()))
            self._beaten = time.monotonic()
        self._deliver()

    def _deliver(self) -> None:
        """Tell of the epochs that ended since the last time."""
        try:
            size = self._metrics.stat().st_size
        except FileNotFoundError:
            return
        if size == self._size:
            return
        for epoch in _epochs(self._metrics):
            if epoch["epoch"] > self._delivered:
                self._guarded(lambda epoch=epoch: self._tell(epoch))  # type: ignore[misc]
                self._delivered = epoch["epoch"]
        self._size = size

    def _tell(self, epoch: dict[str, Any]) -> None:
        progress = {"epochs_done": epoch["epoch"], "seconds": self.seconds}
        self._trial.set_user_attr(noun.PROGRESS, progress)
        if "score" in epoch:
            self._trial.report(epoch["score"], epoch["epoch"])
            if self._policy is not None and not self.verdict:
                self.verdict = self._judge(self._policy)

    def _judge(self, policy: EarlyTerminationPolicy) -> str:
        """What the policy says of the trial as it is now."""
        curves = {
            number: [score for _, score in sorted(trial.intermediate_values.items())]
            for number, trial in noun.latest(self._study.get_trials(deepcopy=False))
        }
        own = curves.pop(self._trial.user_attrs[noun.NUMBER])
        return why_ended(policy, own, list(curves.values()))

    def _guarded(self, action: Callable[[], None]) -> None:
        """Do it, or find that the trial is somebody else's now."""
        try:
            action()
        except UpdateFinishedTrialError:
            self.lost.set()


def _epochs(metrics: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; what follows the last end of line is unfinished."""
    lines = metrics.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines]
