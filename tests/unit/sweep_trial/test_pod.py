"""What becomes of a trial when its pod has to go, with the processes that KFP puts around it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from maskline import study
from maskline.components.sweep_trial import supervise
from maskline.components.sweep_trial.claim import Times

FAKE = Path(__file__).with_name("fake_training.py")
STANDIN = Path(__file__).parents[2] / "standins/kfp_pod.py"
ALONE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
SLOT = """
import json, sys
from pathlib import Path
from maskline import ImageInstanceSegmentationJob
from maskline.components.sweep_trial import child, supervise
from maskline.components.sweep_trial.claim import Times

child.COMMAND = (sys.executable, "-S", sys.argv[5])
supervise.TIMES = Times(**json.loads(sys.argv[4]))
supervise.run_slot(ImageInstanceSegmentationJob.from_dict(json.loads(sys.argv[1])), *map(Path, sys.argv[2:4]))
"""
SECONDS = 5.0
"""Between two looks of the emissary: more than its one, so that a busy machine gets as far as a free one."""


class Pod:
    """A slot in a PID namespace of its own, started as in a pod of KFP."""

    def __init__(self, slots, folder: Path) -> None:
        self._looked = folder / "looked"
        told = (
            json.dumps(slots.job.to_dict()),
            str(slots.data),
            str(slots.run),
            json.dumps(vars(supervise.TIMES)),
        )
        stage = [sys.executable, "-c", SLOT, *told, str(FAKE)]
        around = [sys.executable, str(STANDIN), str(SECONDS), str(self._looked)]
        self._process = subprocess.Popen([*ALONE, *around, *stage], stdout=subprocess.DEVNULL)

    def terminate(self) -> None:
        """SIGTERM, as the kubelet sends it, just after a look of the emissary; returns when all is gone."""
        before = self._looked.stat().st_mtime_ns
        while self._looked.stat().st_mtime_ns == before:
            time.sleep(0.005)
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        os.kill(int(children.split()[0]), signal.SIGTERM)
        assert self._process.wait(60) == 128 + signal.SIGTERM

    def end(self) -> None:
        """Leave no process."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def pod(slots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pod]:
    """With a trial of many epochs, of which it has trained two."""
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("a PID namespace needs root")
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.2")
    slots.job.set_limits(max_trials=1)
    slots.job.set_training_parameters(number_of_epochs=40)
    made = Pod(slots, tmp_path)
    slots.wait(lambda: slots.epochs() >= 2)
    yield made
    made.end()


def test_a_training_that_saves_quickly_is_handed_over(slots, pod: Pod) -> None:
    pod.terminate()
    (trial,) = slots.study().trials
    assert study.HANDED_OVER in trial.user_attrs
    assert study.interrupted(trial)
    assert slots.training() == 0


def test_a_training_that_does_not_is_taken_over_soon_and_has_lost_no_life(
    slots, pod: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed while it saves; silence alone would be waited for much longer."""
    os.kill(slots.training(), signal.SIGSTOP)
    pod.terminate()
    (trial,) = slots.study().trials
    assert study.LEAVING in trial.user_attrs
    assert study.HANDED_OVER not in trial.user_attrs
    assert slots.training() == 0  # what was left of it went with process 1
    slots.job.set_limits(max_process_deaths=1)
    done = slots.epochs()
    patient = Times(beat=0.3, lost=1000.0, leaving=2.0, fence=0.1, look=0.03)
    monkeypatch.setattr(supervise, "TIMES", patient)
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0")
    record = slots.once()
    assert (record.number, record.state, record.epochs_done, record.deaths) == (0, "complete", 40, 0)
    log = (slots.run / "trials/0/log.txt").read_text()
    assert [int(line.split()[-1]) for line in log.splitlines() if line.startswith("starts")] == [0, done]
    assert slots.doubles() == []
