"""The demo's pipeline in containers, not as root: the same result as in processes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from containers.engine import reachable

from maskline.pipelines.docker_runner import LABEL, USER

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
SHORT = {"number_of_epochs: 4": "number_of_epochs: 1", "max_trials: 3": "max_trials: 1"}


def run(job: Path, directory: Path, runner: str) -> None:
    """`maskline run`, to its end."""
    command = [sys.executable, "-m", "maskline.pipelines.cli", "run", str(job)]
    done = subprocess.run(
        [*command, "--run-dir", str(directory), "--runner", runner],
        capture_output=True,
        text=True,
        check=False,
    )
    log = directory / "logs/kfp.log"
    told = log.read_text()[-3000:] if log.exists() else ""
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{told}"


def containers(directory: Path) -> list[str]:
    """Containers of a run."""
    command = ["docker", "ps", "--quiet", "--filter", f"label={LABEL}={directory}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_containers_and_processes_agree(images: None, tmp_path: Path) -> None:
    from maskline.pipelines.new_job import write_sample

    write_sample(tmp_path / "demo")
    job = tmp_path / "demo/job.yaml"
    text = job.read_text(encoding="utf-8")
    for old, new in SHORT.items():
        assert old in text
        text = text.replace(old, new)
    job.write_text(text, encoding="utf-8")
    reachable(tmp_path)
    for runner in ("docker", "subprocess"):  # a run's name is the seed of what it draws, so both have one
        run(job, tmp_path / runner / "run", runner)
    found = [
        json.loads((tmp_path / name / "run/metrics.json").read_text()) for name in ("docker", "subprocess")
    ]
    assert _close(*found), found
    parity = json.loads((tmp_path / "docker/run/parity.json").read_text())
    assert parity
    outsider = os.getuid() if os.getuid() else USER
    written = [p for p in (tmp_path / "docker/run/pipeline").rglob("*") if p.is_file()]
    assert written
    assert {path.stat().st_uid for path in written} == {outsider}
    assert not containers(tmp_path / "docker/run")


def _close(one: object, other: object) -> bool:
    """The same numbers; the last digits of a training may differ with the machine's load."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_close(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_close, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-3
    return one == other
