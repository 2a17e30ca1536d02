"""The shared state of a sweep: an Optuna study, and how to read it.

A trial of ours can be several of Optuna's: when its process or its machine is lost, a continuation takes its
place, with the same number, directory and values. What a trial tells about itself stands in the user
attributes named here; its scores are the intermediate values by epoch.

State of Optuna's trial     of ours
RUNNING, WAITING            running, waiting
COMPLETE, PRUNED            complete, terminated
FAIL with a REASON          failed, for good
FAIL without one            interrupted: waiting for a continuation
"""

import atexit
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from . import storage
from .artifacts import TrialRecord
from .errors import StageError
from .study_storage import JOURNAL, OPENING_SECONDS, STUDY_URL, open_storage

__all__ = ["JOURNAL", "fingerprint", "open_study", "read_trials", "run_directory", "seed_of"]

NUMBER = "number"
"""Of the trial, from 0; Optuna's own number counts continuations too."""
CONTINUES = "continues"
"""Optuna's number of the lost trial whose place this one takes."""
OWNER = "owner"
"""The process that supervises the trial; see sweep_trial.claim."""
SEEN = "seen"
"""Unix time of its last sign of life."""
LEAVING = "leaving"
"""Unix time at which a supervisor was told to go; whether it can still end the trial's process is open."""
HANDED_OVER = "handed_over"
"""Set when a supervisor that had to go has ended the trial's process itself."""
DEATHS = "deaths"
"""How often the trial's process was killed or lost so far."""
VOID = "void"
"""Not a trial: one too many, or a second continuation of the same."""
FOREIGN = "from"
"""The former run that the trial is of; see warm_start_from."""
PARAMETERS = "parameters"
DIRECTORY = "directory"
EPOCHS = "epochs"
PROGRESS = "progress"
"""Epochs done and seconds spent."""
DEVICE = "device"
AUTOMODE = "automode"
"""Of the study: the facts that AutoMode goes by, which all slots share."""
FINGERPRINT = "fingerprint"
REASON = "reason"
"""Why a trial has failed, for good."""
ENDED = "ended"
"""Why a trial was ended early that counts nevertheless."""
_COUNTED = ("primary_metric", "training_parameters", "search_space", "sweep")
"""What of a job makes its trials comparable; limits and names may change when a run is resumed."""


class RunDirectory(NamedTuple):
    """Where the files of a run are.

    Attributes:
        path: the folder that this stage works in.
        copies: URI where the run is kept, if the folder doesn't outlive the pod; empty if it does.
    """

    path: Path
    copies: str = ""


def run_directory(run_root: str, run_name: str, run_id: str) -> RunDirectory:
    """The directory of a run, which all its stages share.

    For a run at a URI, the folder is a new one below the system's folder of temporary files, which ends with
    this process: what an earlier process left there could be older than what is at the URI.

    Args:
        run_root: folder or URI of the run directories.
        run_name: name of the directory; empty for run_id.
        run_id: the id that KFP gave the run.
    """
    name = run_name or run_id
    if "://" not in run_root:
        return RunDirectory(Path(run_root) / name)
    scratch = tempfile.mkdtemp(prefix="maskline-")
    atexit.register(shutil.rmtree, scratch, ignore_errors=True)
    path = Path(scratch) / name
    path.mkdir()
    return RunDirectory(path, storage.join(run_root, name))


def find_run(named: str, run: Path | str) -> str:
    """Where a run lies that another one names: a bare name is beside it, else it's a folder or a URI.

    Args:
        named: as in `checkpoint_run_id`.
        run: directory or URI of the run that names it.
    """
    return named if "/" in named else storage.join(str(run).rstrip("/").rpartition("/")[0], named)


def open_study(run: Path, fingerprint: str = "", copies: str = "") -> optuna.Study:
    """The study of a run, made where there is none yet; its name is the run directory's.

    Args:
        run: the run directory.
        fingerprint: of job and data; a study remembers it, and takes trials of no other.
        copies: URI where the run is kept, if its directory is no file system that all trials share.

    Raises:
        StageError: the storage can't be reached, or holds the study of another job or other data; a run at a
            URI has no database.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=run.name,
        storage=open_storage(None if copies else run),
        direction="maximize",
        load_if_exists=True,
    )
    if fingerprint and study.user_attrs.get(FINGERPRINT) is None:
        study.set_user_attr(FINGERPRINT, fingerprint)
    elif fingerprint and study.user_attrs[FINGERPRINT] != fingerprint:
        raise StageError(
            f"the run directory {run} holds the trials of another job or of other data; "
            "give this run another run_name, or none"
        )
    return study


def existing_study(run: Path | str, patience: float = OPENING_SECONDS) -> optuna.Study:
    """The study of a run that must exist.

    Args:
        run: its directory or URI.
        patience: seconds to wait for a database that is away.

    Raises:
        StageError: there is no such run, or its database can't be reached.
    """
    place, inside = str(run).rstrip("/"), bool(os.environ.get(STUDY_URL))
    if inside or ("://" not in place and Path(run, JOURNAL).exists()):
        kept = open_storage(None if inside else Path(run), patience)  # in a database: no folder is made
        name = place.rpartition("/")[2]
        if any(study.study_name == name for study in kept.get_all_studies()):
            return optuna.load_study(study_name=name, storage=kept)
    raise StageError(f"there is no run {run}: no study of that name is known; give a run's directory")


def fingerprint(job: Mapping[str, Any], digest: str) -> str:
    """One short text for what trials of one study have in common.

    Args:
        job: the job as plain data; its limits and names don't count.
        digest: of its data.
    """
    counted = json.dumps({name: job.get(name) for name in _COUNTED}, sort_keys=True)
    return hashlib.sha256(f"{counted}\n{digest}".encode()).hexdigest()[:16]


def seed_of(run_name: str, chosen: int | None) -> int:
    """The seed of a run: the user's, or one drawn from the run's name, which no other run has."""
    if chosen is not None:
        return chosen
    return int.from_bytes(hashlib.sha256(run_name.encode()).digest()[:4], "big")


def number_of(study: optuna.Study, trial: FrozenTrial) -> int:
    """A trial's number: the one it was given, or that which it has among the run's trials."""
    given: int | None = trial.user_attrs.get(NUMBER)
    if given is not None:
        return given
    return sum(_is_first(other) for other in study.get_trials(deepcopy=False)[: trial.number])


def _is_first(trial: FrozenTrial) -> bool:
    """Whether this is how a trial of ours began, and not a continuation of one."""
    return not any(name in trial.user_attrs for name in (CONTINUES, VOID, FOREIGN))


def started_trials(trials: Iterable[FrozenTrial]) -> int:
    """How many trials of ours there are, whatever became of them."""
    return sum(map(_is_first, trials))


def continuation(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The one that took the place of a lost trial: if several came at once, the first."""
    for other in trials[trial.number + 1 :]:
        if other.user_attrs.get(CONTINUES) == trial.number:
            return other
    return None


def interrupted(trial: FrozenTrial) -> bool:
    """Whether a trial was lost or handed over, and wants a continuation."""
    return trial.state == TrialState.FAIL and not {REASON, VOID, FOREIGN} & trial.user_attrs.keys()


def latest(trials: Sequence[FrozenTrial]) -> list[tuple[int, FrozenTrial]]:
    """Each trial of ours by its number, as the last of Optuna's trials that it was."""
    following = {}
    for trial in reversed(trials):
        if (before := trial.user_attrs.get(CONTINUES)) is not None:
            following[before] = trial
    found = []
    for number, trial in enumerate(trial for trial in trials if _is_first(trial)):
        while trial.number in following:
            trial = following[trial.number]
        found.append((number, trial))
    return found


def read_trials(study: optuna.Study) -> list[TrialRecord]:
    """What the study knows of each trial, by number."""
    return [_record(number, trial) for number, trial in latest(study.get_trials(deepcopy=False))]


def _record(number: int, trial: FrozenTrial) -> TrialRecord:
    attributes: dict[str, Any] = trial.user_attrs
    curve = sorted(trial.intermediate_values.items())
    best = max(curve, key=lambda point: (point[1], -point[0]), default=None)
    states = {
        TrialState.COMPLETE: "complete",
        TrialState.PRUNED: "terminated",
        TrialState.RUNNING: "running",
        TrialState.WAITING: "waiting",
        TrialState.FAIL: "waiting" if interrupted(trial) else "failed",
    }
    progress = attributes.get(PROGRESS, {})
    return TrialRecord(
        number=attributes.get(NUMBER, number),
        state=states[trial.state],  # type: ignore[arg-type]
        score=best[1] if best else None,
        best_epoch=best[0] if best else None,
        parameters=attributes.get(PARAMETERS, {}),
        epochs_done=progress.get("epochs_done", 0),
        epochs=attributes.get(EPOCHS, 0),
        seconds=progress.get("seconds", 0.0),
        reason=attributes.get(REASON) or attributes.get(ENDED, ""),
        directory=attributes.get(DIRECTORY, ""),
        curve=tuple(curve),
        device=attributes.get(DEVICE, ""),
        deaths=attributes.get(DEATHS, 0),
    )
