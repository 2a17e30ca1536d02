"""A slot of the sweep: take a trial, train it in a child process, report, tell.

Whatever a trial can do wrong (diverge, run out of memory, crash, be killed) ends the child and is written
into the study; the slot itself ends well, since KFP fails a whole run over one failed iteration.

Why a trial's process ends         what becomes of the trial
it has trained to the end          complete
its settings, data or code fail    failed, with the reason
it is killed                       started again, from its checkpoint; failed after max_process_deaths
the policy ends it                 terminated; keeps its best checkpoint and score
time is over                       complete with what it has; failed if it was never evaluated
the slot gets SIGTERM              interrupted; a later slot continues it from its checkpoint
the slot is lost                   the same, once its signs of life are missed
another slot took it for lost      is the other slot's
"""

import json
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import optuna
from optuna.trial import TrialState
from pydantic import ValidationError

from maskline import storage
from maskline import study as noun
from maskline.artifacts import TRIAL_RECORD, TrialDirectory, TrialRecord
from maskline.automode import Facts, strategy
from maskline.dataset import PreparedDataset
from maskline.errors import StageError, StorageError
from maskline.job import ImageInstanceSegmentationJob
from maskline.rules import lines
from maskline.search_space import SearchSpace
from maskline.settings import TrainingSettings, complete, obstacles
from maskline.study import RunDirectory
from maskline.study_storage import AWAY, PATIENCE_SECONDS, persistently
from maskline.sweep import EarlyTerminationPolicy

from .child import Child
from .claim import Signs, Times, claim, fence, give_up, too_often
from .copies import Copies
from .devices import gpu_memory, own_device, rfdetr_sizes
from .propose import propose
from .report import Reporter
from .sampling import Grid, automode_sampler, make_sampler
from .spec import TrialSpec
from .warm_start import warm_start

THREADS_VARIABLE = "MASKLINE_TRIAL_THREADS"
"""Environment variable with the processor threads that a trial may use."""
TIMES = Times()
MINUTE = 60.0
LATE_SECONDS = 120.0
"""What a training process has after its deadline to evaluate and save, before it is told to go."""
LEAVING_SECONDS = 4.0
"""How long a slot that has to go waits for a storage that is away."""
ENDING_SECONDS = 120.0
"""How long the end of a trial waits for the last copy of its log."""
End = Literal["ended", "terminated", "late", "evicted", "lost"]


@dataclass(frozen=True)
class Slot:
    """What a slot works with.

    Attributes:
        job: the job.
        study: the run's study, with the job's sampler.
        data: folder of the prepared data set.
        run: the run directory.
        copies: URI where the run is kept, if its directory doesn't outlive the pod.
        seed: of the run.
        fixed: training parameters that are the same for all trials.
        spaces: what trials draw from.
        policy: what ends trials early; None for nothing.
        points: that there are to try: a grid ends.
        deadline: Unix time at which the whole sweep stops.
        leave: set when the slot has to go.
    """

    job: ImageInstanceSegmentationJob
    study: optuna.Study
    data: Path
    run: Path
    copies: str
    seed: int
    fixed: Mapping[str, Any]
    spaces: Sequence[SearchSpace]
    policy: EarlyTerminationPolicy | None
    points: int
    deadline: float
    leave: threading.Event


def run_slot(
    job: ImageInstanceSegmentationJob, data: Path, run: Path, copies: str = ""
) -> TrialRecord | None:
    """Run one trial from its proposal to its end, and then those that were interrupted meanwhile.

    Args:
        job: the job; its limits, sweep, search space and training parameters are read.
        data: folder of the prepared data set.
        run: the run directory, on a file system that all slots share.
        copies: URI where the run is kept instead, if its directory doesn't outlive the pod.

    Returns:
        What became of the first; None if there was nothing to do: all trials are taken, or time is over.

    Raises:
        StageError: the study can't be reached, or not written.
        StorageError: what is kept at the URI can't be reached, or not written.
    """
    leave = threading.Event()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda number, frame: leave.set())
    try:
        slot = _open(job, data, RunDirectory(run, copies), leave)
        limits = job.limits
        take = partial(
            claim,
            slot.study,
            min(limits.max_trials, slot.points),
            limits.max_process_deaths,
            TIMES,
            open_=lambda: not leave.is_set() and time.time() < slot.deadline,
            signs=Signs(),
        )
        trial = take()
        if trial is None:
            print("nothing to do: every trial has ended or is another slot's, or time is over", flush=True)
            return None
        record = _run(slot, trial)
        while (another := take(new=False)) is not None:  # that lost its slot, which may have been the last
            _run(slot, another)
        return record
    except AWAY as error:
        raise StageError(f"the study of {run} can't be reached or written: {error}") from error


def _open(
    job: ImageInstanceSegmentationJob, data: Path, directory: RunDirectory, leave: threading.Event
) -> Slot:
    run, copies = directory
    digest = PreparedDataset.read(data).digest
    study = noun.open_study(run, noun.fingerprint(job.to_dict(), digest), copies)
    fixed = job.fixed_settings()
    if "checkpoint_run_id" in fixed:
        fixed["checkpoint_run_id"] = noun.find_run(fixed["checkpoint_run_id"], copies or run)
    seed = noun.seed_of(run.name, fixed.get("random_seed"))
    spaces: Sequence[SearchSpace] = job.search_space or []
    policy = job.sweep.early_termination if job.sweep else None
    if job.automode:
        chosen = strategy(_facts(study, data), fixed)
        spaces, policy = chosen.spaces, chosen.policy
        study.sampler = automode_sampler(chosen, seed)
    else:
        study.sampler = make_sampler(job.sweep, spaces, seed, fixed)
    if job.sweep and job.sweep.warm_start_from:
        warm_start(study, spaces, run, job.sweep.warm_start_from, copies)
    grid = job.sweep is not None and job.sweep.algorithm == "grid"
    points = len(Grid(spaces, fixed)) if grid else sys.maxsize
    deadline = _began(study) + MINUTE * job.limits.timeout_minutes
    return Slot(job, study, data, run, copies, seed, fixed, spaces, policy, points, deadline, leave)


def _facts(study: optuna.Study, data: Path) -> Facts:
    """What AutoMode goes by: found out once, so that all slots choose alike, on whatever machine."""
    if (known := study.user_attrs.get(noun.AUTOMODE)) is None:
        found = Facts.of(PreparedDataset.read(data).coco("train"), gpu_memory(), rfdetr_sizes())
        study.set_user_attr(noun.AUTOMODE, found.dump())
        known = study.user_attrs[noun.AUTOMODE]
    return Facts.load(known)


def _began(study: optuna.Study) -> float:
    """When the sweep's first trial began: all trials have one deadline."""
    trials = [t for t in study.get_trials(deepcopy=False) if noun.FOREIGN not in t.user_attrs]
    starts = [t.datetime_start.timestamp() for t in trials if t.datetime_start]
    return min(starts, default=time.time())


def _run(slot: Slot, trial: optuna.Trial) -> TrialRecord:
    """Run a trial that was claimed."""
    number = trial.user_attrs[noun.NUMBER]
    print(f"trial {number} begins", flush=True)  # by this line a trial's log is found in the cluster
    try:
        spec, reason = _prepare(slot, trial, number)
        if spec is None:
            record = _tell(slot, trial, reason)
            _say(record)
            return record
        shares = complete(spec.settings).distributed
        with own_device(number, [] if shares else None) as device:
            if device:
                trial.set_user_attr(noun.DEVICE, f"GPU {', '.join(device.values())}")
            record = _train(slot, trial, spec, {**_threads(), **device})
            _say(record)
            return record
    except (*AWAY, StorageError):  # the trial has done nothing wrong, and a later slot takes it
        raise
    except BaseException as error:
        give_up(slot.study, trial, **{noun.REASON: f"{type(error).__name__}: {error}".splitlines()[0]})
        raise


def _prepare(slot: Slot, trial: optuna.Trial, number: int) -> tuple[TrialSpec | None, str]:
    """What the training process is told, or why the trial can't be run."""
    directory = slot.run / "trials" / str(number)
    directory.mkdir(parents=True, exist_ok=True)
    copies = storage.join(slot.copies, "trials", str(number)) if slot.copies else ""
    trial.set_user_attr(noun.DIRECTORY, copies or str(directory))
    varied, chosen = propose(trial, slot.spaces, slot.fixed)
    trial.set_user_attr(noun.PARAMETERS, varied)
    try:
        settings = complete(chosen)
    except ValidationError as error:
        return None, "; ".join(lines(error, TrainingSettings))
    trial.set_user_attr(noun.EPOCHS, settings.number_of_epochs)
    _say(TrialRecord(number, "running", parameters=varied, epochs=settings.number_of_epochs))
    if reasons := obstacles(settings):
        return None, "; ".join(reasons)
    # Trials with one seed between them would differ by their settings only in name.
    own = varied.get("random_seed", slot.seed + number)
    deadline = min(slot.deadline, _own_deadline(slot, trial))
    return TrialSpec(chosen, str(slot.data), str(directory), own, deadline, copies), ""


def _own_deadline(slot: Slot, trial: optuna.Trial) -> float:
    """When the trial's own time is over; what it spent before it was interrupted counts."""
    if (minutes := slot.job.limits.trial_timeout_minutes) is None:
        return math.inf
    return time.time() + MINUTE * minutes - float(trial.user_attrs.get(noun.PROGRESS, {}).get("seconds", 0.0))


def _train(slot: Slot, trial: optuna.Trial, spec: TrialSpec, environment: Mapping[str, str]) -> TrialRecord:
    """Train in a child process, again if it is killed, and tell the study what became of it."""
    files = TrialDirectory(Path(spec.directory))
    token = f"{trial.number} {os.urandom(8).hex()}"
    _write_whole(files.owner, token)
    copies = Copies(files, spec.copies, TIMES.beat)
    copies.begin(PATIENCE_SECONDS)
    fence(slot.study, trial, files, TIMES)
    reporter = Reporter(slot.study, trial, files.metrics, slot.policy, TIMES)
    reporter.start()
    deaths = int(trial.user_attrs.get(noun.DEATHS, 0))
    while True:
        child = Child(spec, environment)
        try:
            end = _watch(slot, child, reporter, copies, spec, token)
        finally:
            child.kill()
        if end != "ended" or not _killed(child):
            break
        deaths += 1
        print(f"{child.reason()}; this was death {deaths} of its process", flush=True)
        persistently(partial(trial.set_user_attr, noun.DEATHS, deaths), PATIENCE_SECONDS)
        if deaths >= slot.job.limits.max_process_deaths:
            break
    copies.end(LEAVING_SECONDS / 2 if end == "evicted" else ENDING_SECONDS)
    return _finish(slot, trial, reporter, child, end, spec)


def _watch(slot: Slot, child: Child, reporter: Reporter, copies: Copies, spec: TrialSpec, token: str) -> End:
    """Wait until the child ends, or there is a reason to end it."""
    owner = TrialDirectory(Path(spec.directory)).owner
    while child.code is None:
        if reporter.lost.is_set() or copies.lost.is_set() or _read(owner) != token:
            child.kill()  # at once: another process trains this trial already
            return "lost"
        if slot.leave.is_set():
            reporter.leave()
            child.end()
            return "evicted"
        if reporter.verdict:
            child.end()
            return "terminated"
        if time.time() > spec.deadline + LATE_SECONDS:
            child.end()
            return "late"
        slot.leave.wait(TIMES.look)
    return "ended"


def _finish(
    slot: Slot, trial: optuna.Trial, reporter: Reporter, child: Child, end: End, spec: TrialSpec
) -> TrialRecord:
    """Tell the study what became of a trial."""
    number = trial.user_attrs[noun.NUMBER]
    if end == "evicted":
        return _hand_over(slot, trial, number, reporter, spec)
    reporter.finish(PATIENCE_SECONDS)
    if end == "lost" or reporter.lost.is_set():
        print(f"trial {number} was taken for lost, and belongs to another slot now", flush=True)
        return _record(slot, number)
    if end == "terminated":
        return _tell(slot, trial, reporter.verdict, TrialState.PRUNED)
    over = _over(slot, spec) if end == "late" or time.time() > spec.deadline else ""
    if end == "late":
        return _tell(slot, trial, over, TrialState.COMPLETE)
    if _killed(child):
        return _tell(slot, trial, f"{child.reason()}; {too_often(trial.user_attrs[noun.DEATHS])}")
    reason = child.reason()
    return _tell(slot, trial, reason or over, TrialState.FAIL if reason else TrialState.COMPLETE)


def _hand_over(
    slot: Slot, trial: optuna.Trial, number: int, reporter: Reporter, spec: TrialSpec
) -> TrialRecord:
    """Leave the trial to a later slot; where the study can't be told, its silence will tell."""
    try:
        reporter.finish(LEAVING_SECONDS)
        if not reporter.lost.is_set():
            persistently(lambda: give_up(slot.study, trial, **{noun.HANDED_OVER: True}), LEAVING_SECONDS)
        record = _record(slot, number)
    except AWAY as error:
        print(f"the study can't be told, so trial {number} will be taken for lost: {error}", flush=True)
        return TrialRecord(number, "waiting", directory=spec.directory)
    print(f"stopped by SIGTERM; a later slot continues trial {number}", flush=True)
    return record


def _killed(child: Child) -> bool:
    """Whether a signal ended the child that this process didn't send."""
    return child.code is not None and (child.code < 0 or child.code == 128 + signal.SIGTERM)


def _over(slot: Slot, spec: TrialSpec) -> str:
    limits = slot.job.limits
    if spec.deadline >= slot.deadline:
        return f"stopped when timeout_minutes={limits.timeout_minutes} were over"
    return f"stopped when trial_timeout_minutes={limits.trial_timeout_minutes} were over"


def _threads() -> dict[str, str]:
    """On a laptop, trials that run at a time share the processors; in a pod a trial has them for itself."""
    share = os.environ.get(THREADS_VARIABLE)
    return {"OMP_NUM_THREADS": share} if share else {}


def _write_whole(path: Path, text: str) -> None:
    """Write a file so that nobody reads half of it."""
    new = path.with_name(f"{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _say(record: TrialRecord) -> None:
    """Tell of a trial in the log, from which `maskline trials` reads it where no database is in reach."""
    print(f"{TRIAL_RECORD}{json.dumps(record.to_json())}", flush=True)


def _tell(slot: Slot, trial: optuna.Trial, reason: str, state: TrialState = TrialState.FAIL) -> TrialRecord:
    """End a trial for good; one that was to be complete and has no score has failed."""
    number = trial.user_attrs[noun.NUMBER]

    def tell() -> None:
        record = _record(slot, number)
        score, why, end = record.score, reason, state
        if state == TrialState.COMPLETE and (score is None or not math.isfinite(score)):
            end = TrialState.FAIL
            why = f"{reason}, before a first evaluation" if reason else _no_score(score)
        if end == TrialState.FAIL:
            give_up(slot.study, trial, **{noun.REASON: why})
            return
        if why:
            trial.set_user_attr(noun.ENDED, why)
        slot.study.tell(
            trial.number, score if end == TrialState.COMPLETE else None, end, skip_if_finished=True
        )

    persistently(tell, PATIENCE_SECONDS)
    return _record(slot, number)


def _no_score(score: float | None) -> str:
    if score is None:
        return "the training process ended well and reported no score"
    return f"the training process reported score={score}, which is not a number"


def _record(slot: Slot, number: int) -> TrialRecord:
    return next(record for record in noun.read_trials(slot.study) if record.number == number)
