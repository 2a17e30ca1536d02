"""A slot outlives whatever its trial does."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from maskline import Input, automl, study
from maskline.automl import SearchSpace
from maskline.components.sweep_trial import child, supervise
from maskline.components.sweep_trial.claim import Times
from maskline.errors import StageError
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.cluster.pods import TRIAL_LINE
from maskline.study_storage import STUDY_URL
from maskline.sweep import Choice


@pytest.fixture
def job() -> ImageInstanceSegmentationJob:
    made = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="."), target_column_name="label"
    )
    made.set_limits(max_trials=2)
    made.set_training_parameters(
        model_name="maskrcnn_resnet18_fpn_light",
        min_size=64,
        max_size=64,
        number_of_epochs=1,
        number_of_workers=0,
        random_seed=4,
    )
    made.extend_search_space(SearchSpace(learning_rate=Choice([0.001])))
    return made


def pretend(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let the child be a script instead of a training; it finds the trial's directory in DIRECTORY."""
    head = "import sys, os; DIRECTORY = os.path.dirname(sys.argv[-1])\n"
    monkeypatch.setattr(child, "COMMAND", (sys.executable, "-c", head + script))
    monkeypatch.setattr(supervise, "TIMES", Times(look=0.05, fence=0.1))


EPOCH = """
import json, pathlib, time
with open(DIRECTORY + "/metrics.jsonl", "a") as stream:
    stream.write(json.dumps({"epoch": 1, "score": 0.25}) + "\\n")
"""


def test_a_real_trial(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(supervise.THREADS_VARIABLE, "1")
    trial = supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    assert (trial.number, trial.state, trial.reason) == (0, "complete", "")
    assert trial.parameters == {"learning_rate": 0.001}
    assert trial.curve == ((1, trial.score),)
    assert (trial.epochs_done, trial.epochs) == (1, 1)
    assert Path(trial.directory, "best.safetensors").exists()
    assert study.read_trials(study.open_study(tmp_path / "run")) == [trial]


def test_scores_are_reported_as_they_come(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, EPOCH + "time.sleep(1.5)")
    worker = threading.Thread(target=supervise.run_slot, args=(job, tiny_prepared, tmp_path / "run"))
    worker.start()
    seen = []
    while worker.is_alive():
        time.sleep(0.1)
        if (tmp_path / "run" / study.JOURNAL).exists():
            seen += [(t.state, t.score) for t in study.read_trials(study.open_study(tmp_path / "run"))]
    assert ("running", 0.25) in seen
    trial = study.read_trials(study.open_study(tmp_path / "run"))[0]
    assert (trial.state, trial.score) == ("complete", 0.25)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL, often for want of memory; see "),
        ("import os; os.kill(os.getpid(), 9)", "was killed or lost 2 times"),
        ("import os; os.abort()", "killed by SIGABRT; see "),
        ("import sys; print('no space left'); sys.exit(7)", "ended with exit code 7: no space left; see "),
        ("pass", "ended well and reported no score"),
        ("open(DIRECTORY + '/failure.txt', 'w').write('it was 3'); raise SystemExit(1)", "it was 3"),
    ],
)
def test_a_failed_trial_is_recorded(
    job: ImageInstanceSegmentationJob,
    tiny_prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    reason: str,
) -> None:
    pretend(monkeypatch, script)
    trial = supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    assert trial.state == "failed"
    assert reason in trial.reason
    pretend(monkeypatch, EPOCH)
    assert supervise.run_slot(job, tiny_prepared, tmp_path / "run").state == "complete"


def test_what_the_child_prints_is_kept_and_told(
    job: ImageInstanceSegmentationJob,
    tiny_prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pretend(monkeypatch, EPOCH + "print('hello from the child', flush=True); time.sleep(0.3)")
    trial = supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    assert "hello from the child" in Path(trial.directory, "log.txt").read_text()
    told = capsys.readouterr().out
    assert "hello from the child" in told
    begun = TRIAL_LINE.search(told)  # by which the cluster's client finds the log of a trial
    assert begun is not None
    assert begun[1] == "0"


def test_processes_that_the_child_leaves_are_ended(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = "import subprocess\np = subprocess.Popen(['sleep', '60'])\n"
    pretend(monkeypatch, EPOCH + left + "open(DIRECTORY + '/pid', 'w').write(str(p.pid))")
    trial = supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    pid = int(Path(trial.directory, "pid").read_text())
    for _ in range(50):
        if not _runs(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the grandchild outlived the trial")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_impossible_draw_is_a_failed_trial(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path
) -> None:
    job.set_training_parameters(max_size=32)
    trial = supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    assert trial.state == "failed"
    assert "min_size=64 is above max_size=32" in trial.reason


def test_an_error_of_the_slot_itself_is_told_and_raised(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no more processes")

    monkeypatch.setattr(child.subprocess, "Popen", broken)
    with pytest.raises(RuntimeError, match="no more processes"):
        supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    (trial,) = study.read_trials(study.open_study(tmp_path / "run"))
    assert (trial.state, trial.reason) == ("failed", "RuntimeError: no more processes")


def test_the_seed_is_the_users_or_the_runs() -> None:
    assert study.seed_of("run-a", 5) == 5
    assert study.seed_of("run-a", None) == study.seed_of("run-a", None) != study.seed_of("run-b", None)


def test_after_the_deadline_no_trial_begins(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, EPOCH)
    job.set_limits(timeout_minutes=1)
    monkeypatch.setattr(supervise, "_began", lambda study: time.time() - 61)
    assert supervise.run_slot(job, tiny_prepared, tmp_path / "run") is None
    assert study.read_trials(study.open_study(tmp_path / "run")) == []


def test_a_seed_that_is_drawn_is_the_trials(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, EPOCH)
    made = automl.image_instance_segmentation(training_data=job.training_data, target_column_name="label")
    made.set_training_parameters(model_name="maskrcnn_resnet18_fpn_light")
    made.extend_search_space(SearchSpace(random_seed=Choice([111])))
    trial = supervise.run_slot(made, tiny_prepared, tmp_path / "run")
    assert json.loads(Path(trial.directory, "spec.json").read_text())["seed"] == 111


def test_another_jobs_run_directory_is_refused(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, EPOCH)
    supervise.run_slot(job, tiny_prepared, tmp_path / "run")
    job.set_training_parameters(number_of_epochs=2)
    with pytest.raises(StageError, match="holds the trials of another job or of other data"):
        supervise.run_slot(job, tiny_prepared, tmp_path / "run")


def test_where_a_run_lies() -> None:
    assert study.run_directory("/runs", "", "id-1") == (Path("/runs/id-1"), "")
    assert study.run_directory("/runs", "name", "id-1") == (Path("/runs/name"), "")
    first, second = (study.run_directory("s3://bucket/runs/", "", "id-1") for _ in range(2))
    assert first.copies == "s3://bucket/runs/id-1"
    assert (first.path.name, list(first.path.iterdir())) == ("id-1", [])
    assert first.path != second.path  # nothing old is taken for new


def test_a_run_at_a_uri_needs_a_database(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(STUDY_URL, raising=False)
    run = study.run_directory("s3://bucket/runs", "", "id-1")
    with pytest.raises(StageError, match="run_root is a URI, .* is not set; name the secret"):
        supervise.run_slot(job, tiny_prepared, *run)
    assert list(run.path.iterdir()) == []
    assert study.find_run("first", Path("/runs/this")) == "/runs/first"
    assert study.find_run("/other/first", Path("/runs/this")) == "/other/first"
