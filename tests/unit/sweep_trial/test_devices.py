"""Which GPU a trial gets, on machines that are made up."""

import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from maskline.components.sweep_trial import devices
from maskline.components.sweep_trial.devices import VISIBLE, gpu_memory, own_device, visible_devices


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))


def test_trials_at_a_time_have_different_devices() -> None:
    with ExitStack() as running:
        given = [running.enter_context(own_device(n, ["0", "1", "2"])) for n in (5, 7, 9)]
        assert given == [{VISIBLE: "0"}, {VISIBLE: "1"}, {VISIBLE: "2"}]
        # a fourth shares, by its number
        assert running.enter_context(own_device(10, ["0", "1", "2"])) == {VISIBLE: "1"}
    with own_device(11, ["0", "1", "2"]) as given:
        assert given == {VISIBLE: "0"}  # all are free again


def test_a_failed_trial_frees_its_device() -> None:
    with pytest.raises(RuntimeError), own_device(0, ["0", "1"]):
        raise RuntimeError
    with own_device(1, ["0", "1"]) as given:
        assert given == {VISIBLE: "0"}


@pytest.mark.parametrize("found", [[], ["0"], ["GPU-3f"]])
def test_where_there_is_no_choice_nothing_is_set(found: list[str]) -> None:
    with own_device(0, found) as given:
        assert given == {}


def test_what_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    for told, names in (("", []), ("2", ["2"]), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"]), ("-1", [])):
        monkeypatch.setenv(VISIBLE, told)
        assert visible_devices() == names
    monkeypatch.delenv(VISIBLE)

    def nvidia_smi(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        lines = "GPU 0: A (UUID: GPU-1)\nGPU 1: A (UUID: GPU-2)\n" if "-L" in command else "24564\n16384\n"
        return subprocess.CompletedProcess(command, 0, lines)

    monkeypatch.setattr(devices.subprocess, "run", nvidia_smi)
    assert visible_devices() == ["0", "1"]
    assert gpu_memory() == 16


def test_a_machine_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    assert visible_devices() == []
    assert gpu_memory() == 0
