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
PID = "pid"
FINGERPRINT = "fingerprint"
REASON = "reason"


def run_directory(run_root: str, run_name: str, run_id: str) -> Path:
    """The directory of a run, which all its trials share.

    Args:
        run_root: folder of the run directories.
        run_name: name of the directory; empty for run_id.
        run_id: the id that KFP gave the run.

    Raises:
        StageError: run_root is a URI; a study needs a file system that all trials mount.
    """
    if "://" in run_root:
        raise StageError(
            f"run_root={run_root} is a URI; give a folder on a volume "
            "that all trials mount, such as /maskline/runs"
        )
    return Path(run_root) / (run_name or run_id)


def find_run(named: str, run_root: Path) -> str:
    """Where a run lies that `checkpoint_run_id` names: a bare name is a directory below run_root."""
    return named if "/" in named else str(run_root / named)


def open_study(run: Path, fingerprint: str = "") -> optuna.Study:
    """The study of a run, made where there is none yet.

    Args:
        run: the run directory, on a file system that all trials share.
        fingerprint: of job and data; a study remembers it, and takes trials of no other.

    Raises:
        StageError: the directory can't be written, or holds the study of another job or other data.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        run.mkdir(parents=True, exist_ok=True)
        storage = JournalStorage(JournalFileBackend(str(run / JOURNAL)))
    except OSError as error:
        raise StageError(f"the run directory {run} can't be written: {error}; choose another") from error
    study = optuna.create_study(
        study_name=run.name, storage=storage, direction="maximize", load_if_exists=True
    )
    if fingerprint and study.user_attrs.setdefault(FINGERPRINT, fingerprint) != fingerprint:
        raise StageError(
            f"the run directory {run} holds the trials of another job or of other data; "
            "give this run another run_name, or none"
        )
    if fingerprint:
        study.set_user_attr(FINGERPRINT, fingerprint)
    return study


def fingerprint(job: str, digest: str) -> str:
    """One short text for a packed job and the digest of its data."""
    return hashlib.sha256(f"{job}\n{digest}".encode()).hexdigest()[:16]


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
