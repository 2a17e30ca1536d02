"""The demo's own sweep, of which something is killed again and again."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from maskline import load_job, study

pytestmark = [pytest.mark.local, pytest.mark.slow]

PAUSE = 20.0
LONGEST = 1500.0


def test_the_demo_under_random_kills_ends_with_every_trial(tmp_path: Path) -> None:
    """Slots, trainings and now and then the command itself; the run is resumed until it ends well."""
    maskline = str(Path(sys.executable).with_name("maskline"))
    subprocess.run([maskline, "sample-data", str(tmp_path / "data")], check=True)
    job = load_job(tmp_path / "data" / "job.yaml")
    job.set_limits(max_trials=3, max_concurrent_trials=2, max_process_deaths=100)
    job.dump(tmp_path / "data" / "killed.yaml")
    run, chance = tmp_path / "run", random.Random(1)
    kills: list[str] = []
    end = time.monotonic() + LONGEST
    command = [maskline, "run", str(tmp_path / "data" / "killed.yaml"), "--run-dir", str(run)]
    starts = 0
    while True:
        starts += 1
        started = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        next_kill = time.monotonic() + PAUSE
        while started.poll() is None:
            assert time.monotonic() < end, f"{kills}, {starts} starts"
            if time.monotonic() > next_kill:
                kills += strike(run, started.pid, chance)
                next_kill = time.monotonic() + PAUSE
            time.sleep(0.1)
        if started.returncode == 0:
            break
        command = [*command[:5], "--resume"]
    trials = study.read_trials(study.open_study(run))
    assert len(kills) >= 5, kills
    assert [(trial.number, trial.state) for trial in trials] == [(n, "complete") for n in range(3)]
    for trial in trials:
        assert [epoch for epoch, _ in trial.curve] == [1, 2, 3, 4]
        lines = (Path(trial.directory) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3, 4]
    assert (run / "model.onnx").exists()
    assert (run / "report.html").exists()


def strike(run: Path, command: int, chance: random.Random) -> list[str]:
    """Kill one of the processes that work on the sweep, as an out-of-memory killer would; what it was."""
    alive = {pid: line for pid, line in _lines().items() if str(run) in line or pid == command}
    sweep = {pid: line for pid, line in alive.items() if "sweep_trial" in line or "/trials/" in line}
    if not sweep:
        return []  # other stages are no part of the sweep: when one of them dies, the run ends and says so
    pid = chance.choice(sorted([*sweep, command]))
    os.kill(pid, signal.SIGKILL)
    return [alive[pid][:200]]


def _lines() -> dict[int, str]:
    """Command lines by process."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
    return found
