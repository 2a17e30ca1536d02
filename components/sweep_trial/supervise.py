"""A slot of the sweep: ask the study for a trial, train it in a child process, report, tell.

Whatever a trial can do wrong (diverge, run out of memory, crash, be killed) ends the child and is written
into the study; the slot itself ends well, since KFP fails a whole run over one failed iteration.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, Any, NoReturn

import optuna
from optuna.trial import TrialState

from maskline import study as noun
from maskline.artifacts import TrialDirectory, TrialRecord
from maskline.dataset import PreparedDataset
from maskline.job import ImageInstanceSegmentationJob
from maskline.settings import complete, obstacles
from maskline.sweep import RandomSamplingAlgorithm

from .propose import TrialSampler, propose
from .spec import TrialSpec

THREADS_VARIABLE = "MASKLINE_TRIAL_THREADS"
"""Environment variable with the processor threads that a trial may use."""
POLL_SECONDS = 1.0


def run_slot(job: ImageInstanceSegmentationJob, data: Path, run: Path) -> TrialRecord:
    """Run one trial from its proposal to its end.

    Args:
        job: the job; its limits, search space and training parameters are read.
        data: folder of the prepared data set.
        run: the run directory.

    Returns:
        What became of the trial: `complete` or `failed`, with the reason.

    Raises:
        StageError: the study can't be reached.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _leave)
    digest = PreparedDataset.read(data).digest
    study = noun.open_study(run, noun.fingerprint(json.dumps(job.to_dict()), digest))
    fixed = job.fixed_settings()
    if "checkpoint_run_id" in fixed:
        fixed["checkpoint_run_id"] = noun.find_run(fixed["checkpoint_run_id"], run.parent)
    seed = noun.seed_of(run.name, fixed.get("random_seed"))
    sampling = job.sweep.sampling_algorithm if job.sweep else None
    drawing = sampling.seed if isinstance(sampling, RandomSamplingAlgorithm) else None
    study.sampler = TrialSampler(seed if drawing is None else drawing)
    trial = study.ask()
    directory = run / "trials" / str(trial.number)
    trial.set_user_attr(noun.DIRECTORY, str(directory))
    try:
        varied, chosen = propose(trial, job.search_space or [], fixed)
        trial.set_user_attr(noun.PARAMETERS, varied)
        settings = complete(chosen)
        trial.set_user_attr(noun.EPOCHS, settings.number_of_epochs)
        if reasons := obstacles(settings):
            return _tell(study, trial, "; ".join(reasons))
        deadline = _started(study) + 60 * job.limits.timeout_minutes
        if time.time() > deadline:
            over = f"timeout_minutes={job.limits.timeout_minutes} were over before this trial began"
            return _tell(study, trial, over)
        # Trials with one seed between them would differ by their settings only in name.
        own = varied.get("random_seed", seed + trial.number)
        spec = TrialSpec(chosen, str(data), str(directory), seed=own, deadline=deadline)
        return _tell(study, trial, _supervise(trial, spec))
    except BaseException as error:
        _tell(study, trial, f"{type(error).__name__}: {error}".splitlines()[0])
        raise


def _leave(number: int, frame: object) -> NoReturn:
    """On eviction: end the child, tell the study, go."""
    raise SystemExit(f"stopped by {signal.Signals(number).name}")


def _started(study: optuna.Study) -> float:
    """When the sweep's first trial began: all trials have one deadline."""
    starts = [t.datetime_start.timestamp() for t in study.get_trials(deepcopy=False) if t.datetime_start]
    return min(starts)


def _supervise(trial: optuna.Trial, spec: TrialSpec) -> str:
    """Train in a child process and pass on what it reports; why it failed, or an empty text."""
    files = TrialDirectory(Path(spec.directory))
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "maskline.components.sweep_trial.train", str(spec.write())],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **_threads()},
        start_new_session=True,  # so that its loader processes end with it
    )
    trial.set_user_attr(noun.PID, child.pid)
    threading.Thread(target=_copy_output, args=(child.stdout, files.log), daemon=True).start()
    started = time.time()
    lines_read = 0
    try:
        while True:
            ended = child.poll() is not None
            lines_read = _report(trial, files.metrics, lines_read)
            if ended:
                break
            time.sleep(POLL_SECONDS)
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        trial.set_user_attr(noun.SECONDS, round(time.time() - started, 1))
    return _reason(child.returncode, files)


def _threads() -> dict[str, str]:
    """On a laptop, trials that run at a time share the processors; in a pod a trial has them for itself."""
    share = os.environ.get(THREADS_VARIABLE)
    return {"OMP_NUM_THREADS": share} if share else {}


def _copy_output(stream: IO[str] | None, log: Path) -> None:
    """What the child prints goes to the trial's log and to this process's own output (the pod's log)."""
    with log.open("a", encoding="utf-8") as file:
        for line in stream or ():
            file.write(line)
            file.flush()
            sys.stdout.write(line)


def _report(trial: optuna.Trial, metrics: Path, lines_read: int) -> int:
    """Tell the study of the epochs that ended since the last time; how many lines are known now."""
    if not metrics.exists():
        return lines_read
    lines = metrics.read_text(encoding="utf-8").split("\n")[:-1]  # what follows the last \n is unfinished
    for line in lines[lines_read:]:
        epoch: dict[str, Any] = json.loads(line)
        trial.set_user_attr(noun.EPOCHS_DONE, epoch["epoch"])
        if "score" in epoch:
            trial.report(epoch["score"], epoch["epoch"])
    return len(lines)


def _reason(code: int, files: TrialDirectory) -> str:
    if code == 0:
        return ""
    if files.failure.exists():
        return files.failure.read_text(encoding="utf-8")
    if code < 0:
        hint = ", often for want of memory" if code == -signal.SIGKILL else ""
        return f"the training process was killed by {signal.Signals(-code).name}{hint}; see {files.log}"
    return f"the training process ended with exit code {code}; see {files.log}"


def _tell(study: optuna.Study, trial: optuna.Trial, reason: str) -> TrialRecord:
    record = noun.read_trials(study)[trial.number]
    if not reason and record.score is None:
        reason = "the training process ended well and reported no score"
    if reason:
        trial.set_user_attr(noun.REASON, reason)
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    else:
        study.tell(trial.number, record.score, skip_if_finished=True)
    return noun.read_trials(study)[trial.number]
