"""A job on this machine: the compiled pipeline under kfp.local, in a process of its own.

kfp.local patches `print` and the root logger and writes some hundred lines a run. In its own process that
harms nobody, and goes to `logs/kfp.log`; what a person sees comes from the stages' journal and the study.
"""

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from maskline import artifacts, families, study
from maskline.artifacts import TrialRecord
from maskline.errors import JobError, StageError
from maskline.job import ImageInstanceSegmentationJob, load_job
from maskline.settings import complete, weights_wanted
from maskline.stages import JOURNAL_VARIABLE, NAMES, pack, stage

from . import docker_runner
from .compiler import compile_job, located

Runner = Literal["subprocess", "docker"]

AT_ONCE = 2
"""Iterations of a loop that kfp.local runs at a time, whatever the job asks for."""
TRAIN_PACKAGES = (
    "torch",
    "torchvision",
    "pycocotools",
    "hotcoco",
    "onnx",
    "onnxruntime",
    "safetensors",
    "matplotlib",
)
"""What comes with the extra [train]."""
POLL_SECONDS = 0.5
STAGES = "stages.jsonl"
"""What the stages report to, in `logs`."""
GRACE_SECONDS = 20.0
"""What a run that is interrupted has to end its trials."""
DELIVERED: dict[tuple[str, str], dict[str, str]] = {
    ("data_preparation", "report"): {"": artifacts.DATA_REPORT},
    ("data_preparation", "prepared"): {
        artifacts.DATA_NUMBERS: artifacts.DATA_NUMBERS,
        artifacts.FINDINGS: artifacts.FINDINGS,
    },
    ("trial_selection", "leaderboard"): {
        artifacts.LEADERBOARD: artifacts.LEADERBOARD,
        artifacts.LEADERBOARD_PICTURE: artifacts.LEADERBOARD_PICTURE,
    },
    ("trial_selection", "model"): {
        artifacts.CHECKPOINT: f"model/{artifacts.CHECKPOINT}",
        artifacts.LABELS: f"model/{artifacts.LABELS}",
    },
    ("evaluation", "report"): {"": artifacts.REPORT},
    ("evaluation", "results"): {
        artifacts.METRICS: artifacts.METRICS,
        artifacts.PREDICTIONS: artifacts.PREDICTIONS,
        artifacts.BOX_PREDICTIONS: artifacts.BOX_PREDICTIONS,
        artifacts.EVALUATION: artifacts.EVALUATION,
    },
    ("onnx_export", "onnx"): {artifacts.MODEL: artifacts.MODEL, artifacts.PARITY: artifacts.PARITY},
}
"""Stage and its output -> file in it -> where a user finds it, below the run directory."""


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        stages: state of each stage by name: `waiting`, `running`, `done` or `failed`.
        trials: the sweep's trials so far.
        reasons: why a stage failed, by stage.
        seconds: since the run began.
    """

    stages: dict[str, str] = field(default_factory=lambda: dict.fromkeys(NAMES, "waiting"))
    trials: list[TrialRecord] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class RunFiles:
    """What a finished run leaves, all below its directory.

    Attributes:
        directory: the run directory.
    """

    directory: Path

    @property
    def report(self) -> Path:
        """The HTML report."""
        return self.directory / artifacts.REPORT

    @property
    def data_report(self) -> Path:
        """What the data hold, and what was wrong with them, HTML."""
        return self.directory / artifacts.DATA_REPORT

    @property
    def onnx(self) -> Path:
        """The ONNX graph."""
        return self.directory / artifacts.MODEL

    @property
    def checkpoint(self) -> Path:
        """The best trial's checkpoint."""
        return self.directory / "model" / artifacts.CHECKPOINT

    @property
    def metrics(self) -> Path:
        """All numbers, JSON."""
        return self.directory / artifacts.METRICS

    @property
    def leaderboard(self) -> Path:
        """All trials, CSV."""
        return self.directory / artifacts.LEADERBOARD


def run_local(
    job: ImageInstanceSegmentationJob,
    directory: Path,
    *,
    watch: Callable[[Progress], None] = lambda progress: None,
    resume: bool = False,
    runner: Runner = "subprocess",
) -> RunFiles:
    """Run a job on this machine, from its data to report and ONNX file.

    Args:
        job: the job; checked in full before anything is started.
        directory: the run directory; made, or empty.
        watch: called twice a second with how far the run is.
        resume: continue the run that the directory holds. Trials that have ended are kept, those that were
            interrupted go on from their checkpoints; limits may have changed, nothing else that trials share.
        runner: stages are processes here, or containers of the images that a cluster uses.

    Returns:
        Where the results lie.

    Raises:
        JobError: the job can't run, or the directory is in use.
        WeightsError: weights to start from can't be had.
        StageError: a stage failed; names it and the reason.
    """
    directory = directory.absolute()
    check(job, directory.parent, runner)
    logs = directory / "logs"
    if resume and not logs.is_dir():
        raise JobError(f"{directory} holds no run to be continued; leave --resume out to begin one")
    if not resume and directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise JobError(
            f"the run directory {directory} is not empty; choose another, or remove it; if it holds a run "
            "that was interrupted, continue it with --resume"
        )
    logs.mkdir(parents=True, exist_ok=True)
    for left in (directory / "job.yaml", logs / STAGES):
        left.unlink(missing_ok=True)
    located(job).dump(directory / "job.yaml")
    compile_job(job, directory / "pipeline.yaml", spares=False)
    if threading.current_thread() is threading.main_thread():
        # As Ctrl-C does: through the `finally` below, which ends the trials.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _leave)
    progress = Progress()
    with (logs / "kfp.log").open("w", encoding="utf-8") as log:
        engine = subprocess.Popen(
            [sys.executable, "-m", "maskline.pipelines.local_runner", str(directory), runner],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(job, directory),
            start_new_session=True,
        )
        try:
            _follow(engine, directory, progress, watch)
        finally:
            if runner == "docker":
                docker_runner.stop(directory)
            _stop(engine)
    if engine.returncode:
        raise StageError(_failure(progress, directory))
    return RunFiles(directory)


def check(job: ImageInstanceSegmentationJob, run_root: Path, runner: Runner = "subprocess") -> None:
    """Everything that can be known before a run: the job, the data, the packages, the weights.

    Args:
        job: the job.
        run_root: folder of the run directories, where `checkpoint_run_id` may name one.
        runner: the images of `docker` have their own packages and weights.

    Raises:
        JobError: all problems at once.
        WeightsError: weights to start from can't be had.
    """
    problems = [*job.problems(), *(docker_runner.obstacles() if runner == "docker" else ())]
    wanting = [name for name in TRAIN_PACKAGES if not _installed(name)]
    if wanting and runner != "docker":
        problems.append(f"{', '.join(wanting)} not installed; pip install 'maskline[train]'")
    if problems:
        raise JobError(problems)
    if wanting:
        return
    fixed = located(job).fixed_settings()
    if "checkpoint_run_id" in fixed:
        fixed["checkpoint_run_id"] = study.find_run(fixed["checkpoint_run_id"], run_root / "this")
    for name in models(job):
        if runner != "docker":
            families.require(name)
        settings = complete({**fixed, "model_name": name})
        if weights_wanted(settings) != "none" or settings.checkpoint_run_id is not None:
            from maskline.models.weights import fetch

            fetch(settings)


def models(job: ImageInstanceSegmentationJob) -> list[str]:
    """The models that a job may train, each once."""
    fixed = job.fixed_settings()
    if job.automode and "model_name" not in fixed:
        from maskline import automode
        from maskline.components.sweep_trial.devices import gpu_memory

        return automode.models(gpu_memory(), sys.maxsize)
    if "model_name" in fixed or not job.search_space:
        return [complete(fixed).model_name]
    found: list[str] = []
    for space in job.search_space:
        knob = space.knobs.get("model_name", complete({}).model_name)
        found += [str(value) for value in getattr(knob, "values", [knob])]
    return list(dict.fromkeys(found))


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _environment(job: ImageInstanceSegmentationJob, directory: Path) -> dict[str, str]:
    """Trials that run at a time share the processors."""
    cores = len(os.sched_getaffinity(0))
    at_once = min(AT_ONCE, job.limits.concurrent_trials)
    return {
        **os.environ,
        JOURNAL_VARIABLE: str(directory / "logs" / STAGES),
        "MASKLINE_TRIAL_THREADS": str(max(1, cores // at_once)),
    }


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _stop(engine: "subprocess.Popen[bytes]") -> None:
    """End what still runs: first so that supervisors can end their trials and say so, then for good.

    By SIGTERM, which unlike SIGINT is not ignored by what a shell runs in the background.
    """
    deadline = time.monotonic() + GRACE_SECONDS
    with contextlib.suppress(ProcessLookupError):  # nobody is left
        os.killpg(engine.pid, signal.SIGTERM)  # its tasks too, also where it died before them
        while time.monotonic() < deadline:
            engine.poll()
            os.killpg(engine.pid, 0)
            time.sleep(POLL_SECONDS)
        os.killpg(engine.pid, signal.SIGKILL)
    engine.wait()


def _follow(
    engine: "subprocess.Popen[bytes]", directory: Path, progress: Progress, watch: Callable[[Progress], None]
) -> None:
    began = time.monotonic()
    opened = None
    while True:
        ended = engine.poll() is not None
        if opened is None and (directory / study.JOURNAL).exists():
            opened = study.open_study(directory)
        if opened is not None:
            progress.trials = study.read_trials(opened)
        _read_journal(directory / "logs" / STAGES, progress)
        progress.seconds = time.monotonic() - began
        watch(progress)
        if ended:
            return
        time.sleep(POLL_SECONDS)


def _read_journal(journal: Path, progress: Progress) -> None:
    if not journal.exists():
        return
    states = {"began": "running", "ended": "done", "failed": "failed"}
    for line in journal.read_text(encoding="utf-8").split("\n")[:-1]:
        event = json.loads(line)
        name = event["stage"]
        # One slot's end is not the sweep's, which ends when the next stage begins.
        if name == "sweep_trial" and event["event"] == "ended":
            continue
        progress.stages[name] = states[event["event"]]
        if name == "trial_selection":
            progress.stages["sweep_trial"] = "done"
        if event["reason"]:
            progress.reasons.setdefault(name, event["reason"])


def _failure(progress: Progress, directory: Path) -> str:
    made = [
        target for files in DELIVERED.values() for target in files.values() if (directory / target).exists()
    ]
    kept = f"; what was done before is in {directory}: {', '.join(made)}" if made else ""
    for name, reason in progress.reasons.items():
        return f"{name} failed: {reason}{kept}"
    running = [name for name, state in progress.stages.items() if state == "running"]
    done = [name for name, state in progress.stages.items() if state == "done"]
    where = (
        f"{running[-1]} ended without a word"
        if running
        else f"the pipeline did not start{f' the stage after {done[-1]}' if done else ''}"
    )
    return f"{where}; {directory / 'logs' / 'kfp.log'} holds its output{kept}"


def _end_with(parent: int) -> None:
    """End this process and its tasks when the one that started it is gone, however it went."""
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.killpg(os.getpgid(0), signal.SIGTERM)


def _leave_containers(directory: Path) -> NoReturn:
    """Containers are no children: they would outlive this process, and its threads wait for them."""
    docker_runner.stop(directory)
    os._exit(128 + signal.SIGTERM)


def _run_pipeline(directory: Path, runner: Runner) -> None:
    """The process that kfp.local has for itself."""
    from kfp import components, local

    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    if runner == "docker":
        signal.signal(signal.SIGTERM, lambda *_: _leave_containers(directory))
        docker_runner.prepare(directory)
        told = {name: os.environ[name] for name in (JOURNAL_VARIABLE, "MASKLINE_TRIAL_THREADS")}
        stages = docker_runner.runner(load_job(directory / "job.yaml"), directory)
        text = docker_runner.with_variables(directory / "pipeline.yaml", told)
    else:
        stages = local.SubprocessRunner(use_venv=False)
        text = (directory / "pipeline.yaml").read_text(encoding="utf-8")
    # A root of its own: kfp.local deletes the workspace it is given.
    local.init(
        runner=stages,
        pipeline_root=str(directory / "pipeline"),
        raise_on_error=True,
    )
    pipeline = components.load_component_from_text(text)
    try:
        pipeline(run_root=str(directory.parent), run_name=directory.name)
    finally:  # what was done before a stage failed is kept
        _deliver(directory)
    if runner == "subprocess":  # where containers run, this machine may lack the packages
        from maskline.components.evaluation.measure import rebuild

        # Evaluation comes before onnx_export: now the report has the ONNX file's agreement too.
        with stage("evaluation", pack(load_job(directory / "job.yaml"))):
            rebuild(directory, directory / artifacts.REPORT)


def _deliver(directory: Path) -> None:
    """Put what the stages have finished where a user finds it."""
    progress = Progress()
    _read_journal(directory / "logs" / STAGES, progress)
    for (name, output), files in DELIVERED.items():
        if progress.stages[name] == "done":
            places = (directory / "pipeline").glob(f"*/{name.replace('_', '-')}/{output}")
            newest = max(places, key=lambda place: place.stat().st_mtime)
            for source, target in files.items():
                (directory / target).parent.mkdir(exist_ok=True)
                shutil.copy(newest / source, directory / target)


if __name__ == "__main__":
    _run_pipeline(Path(sys.argv[1]), "docker" if sys.argv[2] == "docker" else "subprocess")
