"""A training whose container is killed goes on in another, from its checkpoint."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from containers.engine import docker, reachable

from maskline import Input, automl, study
from maskline.components.sweep_trial.claim import Times
from maskline.pipelines.docker_runner import LABEL
from maskline.sample_data import write_sample_data

pytestmark = pytest.mark.containers

EPOCHS = 6


def started(job: Path, run: Path, *more: str) -> "subprocess.Popen[str]":
    """`maskline run` in containers, begun."""
    words = ["run", str(job), "--run-dir", str(run), "--runner", "docker", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "maskline.pipelines.cli", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def small_job(folder: Path) -> Path:
    """One trial of many short epochs; returns the job's path."""
    data = write_sample_data(folder / "data", pictures=15, size=64)
    job = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path=str(data / "train")), target_column_name="label"
    )
    job.set_limits(max_trials=1)
    job.set_training_parameters(
        model_name="maskrcnn_resnet18_fpn_light",
        number_of_epochs=EPOCHS,
        early_stopping=False,
        number_of_workers=0,
        min_size=64,
        max_size=64,
        random_seed=1,
    )
    job.dump(folder / "job.yaml")
    reachable(folder / "data")
    return folder / "job.yaml"


def at_work(run: Path) -> list[str]:
    """Containers of a run that train."""
    found = docker("ps", "--quiet", "--filter", f"label={LABEL}={run}").split()
    return [name for name in found if "trial 0 begins" in docker("logs", name)]


def wait(what: Callable[[], object], running: "subprocess.Popen[str]", seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.1)


@pytest.mark.parametrize("strike", ["kill", "stop"])
def test_a_killed_container_is_replaced(strike: str, images: None, tmp_path: Path) -> None:
    """`docker kill` ends all of a container at once; a run that is interrupted ends it by SIGTERM."""
    job = small_job(tmp_path)
    run = tmp_path / "runs/first"
    files = run / "trials/0"
    first = started(job, run)
    try:
        wait((files / "last.safetensors").exists, first)
        (container,) = at_work(run)
        if strike == "kill":
            docker("kill", container)
        else:
            first.send_signal(signal.SIGTERM)
        told, _ = first.communicate(timeout=120)
    finally:
        first.kill()
    assert first.returncode, told
    assert not at_work(run)
    assert not (run / "model.onnx").exists()

    before = study.open_study(run)
    (trial,) = before.trials
    done = len((files / "metrics.jsonl").read_text().splitlines())
    assert 1 <= done < EPOCHS
    assert (study.HANDED_OVER in trial.user_attrs) == (strike == "stop")
    if strike == "kill":  # nobody in another container can know; so that its silence needn't be waited for:
        silent = trial.user_attrs[study.SEEN] - Times().lost
        before._storage.set_trial_user_attr(trial._trial_id, study.SEEN, silent)
    second = started(job, run, "--resume")
    told, _ = second.communicate(timeout=600)
    assert second.returncode == 0, told

    (record,) = study.read_trials(study.open_study(run))
    assert (record.number, record.state, record.deaths) == (0, "complete", int(strike == "kill"))
    assert [epoch for epoch, _ in record.curve] == list(range(1, EPOCHS + 1))
    lines = [json.loads(line) for line in (files / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, EPOCHS + 1))
    log = (files / "log.txt").read_text()
    assert f"going on from {files / 'last.safetensors'}: epoch {done + 1}" in log
    for number in range(1, EPOCHS + 1):  # none was trained twice
        assert log.count(f"epoch {number}:") == 1
    for name in ("model.onnx", "metrics.json", "report.html"):
        assert (run / name).stat().st_size
    assert {path.stat().st_uid for path in files.iterdir()} == {os.getuid() or 10001}
