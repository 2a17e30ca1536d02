"""How stages are put into containers; whole runs in real ones are tests/containers/'s."""

import os
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml

from maskline import Input, automl
from maskline.errors import JobError
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines import docker_runner
from maskline.pipelines.compiler import compile_job
from maskline.pipelines.local_runner import run_local


class Engine:
    """A Docker engine that has what it is told to have."""

    def __init__(self, images: list[str], runtimes: list[str]) -> None:
        self.known, self.runtimes = images, runtimes
        self.images = self

    def ping(self) -> bool:
        return True

    def info(self) -> dict[str, Any]:
        return {"Runtimes": dict.fromkeys(self.runtimes, {})}

    def list(self, name: str) -> list[str]:
        return [image for image in self.known if image == name]

    def close(self) -> None:
        pass


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    made = Engine([docker_runner.image("light"), docker_runner.image("trainer")], ["runc"])
    monkeypatch.setattr(docker, "from_env", lambda: made)
    return made


@pytest.fixture
def job(tmp_path: Path) -> ImageInstanceSegmentationJob:
    data = Input(type="mltable", path=str(tmp_path / "data"))
    made = automl.image_instance_segmentation(training_data=data, target_column_name="label")
    made.environment_variables = {"HTTP_PROXY": "http://proxy"}
    return made


def test_what_is_missing_is_told_before_anything_runs(
    engine: Engine, job: ImageInstanceSegmentationJob, tmp_path: Path
) -> None:
    engine.known = engine.known[:1]
    with pytest.raises(JobError, match="maskline-trainer:.* is not on this machine; `make images`"):
        run_local(job, tmp_path / "run", runner="docker")
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    (problem,) = docker_runner.obstacles()
    assert problem.startswith("no Docker engine answers (")
    assert problem.endswith("); start it, or set DOCKER_HOST")


def test_containers_have_no_rights(
    engine: Engine, job: ImageInstanceSegmentationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = docker_runner.runner(job, tmp_path / "runs/one").container_run_args
    assert asked["read_only"] is True
    assert asked["cap_drop"] == ["ALL"]
    assert asked["security_opt"] == ["no-new-privileges"]
    assert asked["device_requests"] is None
    for uid, expected in ((0, "10001:10001"), (1234, f"1234:{os.getgid()}")):
        monkeypatch.setattr(os, "getuid", lambda uid=uid: uid)
        assert docker_runner.runner(job, tmp_path / "runs/one").container_run_args["user"] == expected
    engine.runtimes.append("nvidia")
    (gpus,) = docker_runner.runner(job, tmp_path / "runs/one").container_run_args["device_requests"]
    assert gpus["Count"] == -1


def test_they_write_into_the_run_and_nowhere_else(
    engine: Engine, job: ImageInstanceSegmentationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "torch/hub").mkdir(parents=True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    mounts = docker_runner.runner(job, tmp_path / "runs/one").container_run_args["mounts"]
    found = {mount["Target"]: (mount["Source"], bool(mount.get("ReadOnly"))) for mount in mounts}
    data, runs = str(tmp_path / "data"), str(tmp_path / "runs")
    assert found == {
        data: (data, True),
        runs: (runs, True),
        f"{runs}/one": (f"{runs}/one", False),
        "/opt/weights/hub": (str(tmp_path / "torch/hub"), True),
    }


def test_variables_reach_stages_beside_the_jobs(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    compile_job(job, tmp_path / "pipeline.yaml")
    text = docker_runner.with_variables(tmp_path / "pipeline.yaml", {"JOURNAL": "/there"})
    ir, platform = yaml.safe_load_all(text)
    for executor in ir["deploymentSpec"]["executors"].values():
        assert executor["container"]["env"] == [
            {"name": "HTTP_PROXY", "value": "http://proxy"},
            {"name": "JOURNAL", "value": "/there"},
        ]
    assert platform["platforms"]
