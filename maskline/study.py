"""The shared state of a sweep: an Optuna study in the run directory, and how to read it.

The study's journal lies on the run directory's file system, which all trials share. What a trial tells
about itself stands in the user attributes named here; its scores are the intermediate values by epoch.
"""

import hashlib
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState

from .artifacts import TrialRecord
from .errors import StageError

JOURNAL = "study.journal"
PARAMETERS = "parameters"
DIRECTORY = "directory"
EPOCHS = "epochs"
EPOCHS_DONE = "epochs_done"
SECONDS = "seconds"
SEEN = "seen"
REASON = "reason"


def open_study(run: Path) -> optuna.Study:
    """The study of a run, made where there is none yet.

    Args:
        run: the run directory, on a file system that all trials share.

    Raises:
        StageError: the directory can't be written.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        run.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(run / JOURNAL)))
    except OSError as error:
        raise StageError(f"the run directory {run} can't be written: {error}; choose another") from error
    return optuna.create_study(
        study_name=run.name, storage=storage, direction="maximize", load_if_exists=True
    )


def seed_of(run_name: str, chosen: int | None) -> int:
    """The seed of a run: the user's, or one drawn from the run's name, which no other run has."""
    if chosen is not None:
        return chosen
    return int.from_bytes(hashlib.sha256(run_name.encode()).digest()[:4], "big")


def read_trials(study: optuna.Study) -> list[TrialRecord]:
    """What the study knows of each trial, by number."""
    return [_record(trial) for trial in study.get_trials(deepcopy=False)]


def _record(trial: FrozenTrial) -> TrialRecord:
    attributes: dict[str, Any] = trial.user_attrs
    curve = sorted(trial.intermediate_values.items())
    best = max(curve, key=lambda point: (point[1], -point[0]), default=None)
    states = {TrialState.COMPLETE: "complete", TrialState.FAIL: "failed"}
    return TrialRecord(
        number=trial.number,
        state=states.get(trial.state, "running"),  # type: ignore[arg-type]
        score=best[1] if best else None,
        best_epoch=best[0] if best else None,
        parameters=attributes.get(PARAMETERS, {}),
        epochs_done=attributes.get(EPOCHS_DONE, 0),
        epochs=attributes.get(EPOCHS, 0),
        seconds=attributes.get(SECONDS, 0.0),
        reason=attributes.get(REASON, ""),
        directory=attributes.get(DIRECTORY, ""),
        curve=tuple(curve),
    )
