"""A run at a URI: S3 and PostgreSQL on real servers, and slots as processes that share nothing else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from maskline import Input, automl, storage, study
from maskline.artifacts import TrialDirectory, TrialRecord
from maskline.automl import SearchSpace
from maskline.components.sweep_trial.copies import Copies, is_owned
from maskline.components.trial_selection.select_best import select_best
from maskline.errors import AwayError, NoModelError, StorageError
from maskline.job import ImageInstanceSegmentationJob
from maskline.sweep import Choice

SLOT = """
import json, sys
from pathlib import Path
from maskline import ImageInstanceSegmentationJob
from maskline.components.sweep_trial import supervise
from maskline.components.sweep_trial.claim import Times
from maskline.study import run_directory

supervise.TIMES = Times(beat=0.2, fence=0.1, look=0.02)
job = ImageInstanceSegmentationJob.from_dict(json.loads(sys.argv[1]))
record = supervise.run_slot(job, Path(sys.argv[2]), *run_directory(sys.argv[3], sys.argv[4], ""))
print("RECORD", json.dumps(record.to_json()))
"""


@pytest.fixture
def job() -> ImageInstanceSegmentationJob:
    made = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="/nowhere"), target_column_name="label"
    )
    made.set_limits(max_trials=1)
    made.set_training_parameters(
        model_name="maskrcnn_resnet18_fpn_light",
        min_size=64,
        max_size=64,
        number_of_epochs=3,
        checkpoint_frequency=1,
        number_of_workers=0,
        random_seed=4,
    )
    made.extend_search_space(SearchSpace(learning_rate=Choice([0.001])))
    return made


class Node:
    """A slot in a process with a folder of temporary files of its own."""

    def __init__(self, job: ImageInstanceSegmentationJob, data: Path, run: str, scratch: Path) -> None:
        scratch.mkdir()
        root, _, name = run.rpartition("/")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLOT, json.dumps(job.to_dict()), str(data), root, name],
            env={**os.environ, "TMPDIR": str(scratch), "MASKLINE_TRIAL_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def record(self) -> TrialRecord:
        """What the slot returned."""
        told, _ = self.process.communicate(timeout=240)
        (line,) = [line for line in told.splitlines() if line.startswith("RECORD ")] or [told]
        return TrialRecord.from_json(json.loads(line.removeprefix("RECORD ")))


def epochs(place: str) -> list[dict]:
    """What stands in a metrics file, without what a clock tells."""
    clocks = ("seconds", "images_per_second", "data_seconds")
    lines = storage.read_bytes(f"{place}/metrics.jsonl").decode().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in clocks} for line in lines]


def wait(what: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.02)


@pytest.mark.parametrize("strike", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_trial_goes_on_elsewhere_from_what_is_in_the_store(
    job, tiny_prepared: Path, tmp_path: Path, bucket: str, database, strike: signal.Signals
) -> None:
    """Trained in one scratch, struck, continued in another, to the bits of a training that nobody struck."""
    run, calm = f"{bucket}/runs/struck", f"{bucket}/runs/calm"
    first = Node(job, tiny_prepared, run, tmp_path / "a")
    wait(lambda: storage.exists(f"{run}/trials/0/last.safetensors"))
    first.process.send_signal(strike)
    told, _ = first.process.communicate(timeout=60)
    assert len(epochs(f"{run}/trials/0")) < 3, told
    record = Node(job, tiny_prepared, run, tmp_path / "b").record()
    assert (record.state, record.epochs_done, record.deaths) == ("complete", 3, int(strike == signal.SIGKILL))
    assert record.directory == f"{run}/trials/0"
    whole = Node(job, tiny_prepared, calm, tmp_path / "c").record()
    assert (whole.score, whole.curve) == (record.score, record.curve)
    assert epochs(record.directory) == epochs(whole.directory)
    for name in ("best.safetensors", "last.safetensors"):
        one, other = (
            load_file(storage.fetch(f"{record_.directory}/{name}", tmp_path / f"{number}-{name}"))
            for number, record_ in enumerate((record, whole))
        )
        assert one.keys() == other.keys()
        assert all(one[key].equal(other[key]) for key in one)
    log = storage.read_bytes(f"{record.directory}/log.txt").decode()
    assert "going on from" in log
    assert log.count("epoch 1:") == 1  # of the first slot
    assert not list(tmp_path.glob("[bc]/maskline-*"))  # the scratch goes with the slot


def trained(run: study.RunDirectory, score: float, content: bytes = b"weights") -> None:
    """A complete trial, as a slot leaves it."""
    opened = study.open_study(run.path, copies=run.copies)
    trial = opened.ask()
    place = f"{run.copies}/trials/{trial.number}"
    trial.set_user_attr(study.DIRECTORY, place)
    trial.report(score, 1)
    opened.tell(trial, score)
    if content:
        storage.put_bytes(content, f"{place}/best.safetensors")


class TestSelection:
    @pytest.fixture
    def run(self, bucket: str, database) -> study.RunDirectory:
        return study.run_directory(f"{bucket}/runs", "chosen", "")

    @pytest.fixture
    def choose(self, job, tiny_prepared: Path, tmp_path: Path, run: study.RunDirectory):
        folders = (tmp_path / "leaderboard", tmp_path / "model")
        return lambda: select_best(job, [], run.path, tiny_prepared, *folders, copies=run.copies)

    def test_the_best_checkpoint_comes_from_the_store(self, run, choose, tmp_path: Path) -> None:
        trained(run, 0.2, b"second")
        trained(run, 0.4, b"best")
        trained(run, 0.9, b"")  # its checkpoint is gone
        assert choose().number == 1
        assert (tmp_path / "model" / "checkpoint.safetensors").read_bytes() == b"best"
        assert storage.read_bytes(f"{run.copies}/model/checkpoint.safetensors") == b"best"
        table = json.loads((tmp_path / "leaderboard" / "trials.json").read_text())
        assert "best.safetensors is missing" in table[2]["reason"]

    def test_a_store_that_refuses_is_no_missing_checkpoint(self, run, choose, faults: list[str]) -> None:
        trained(run, 0.4)
        faults.extend(["403 Forbidden"] * 9)
        with pytest.raises(StorageError, match="may not be read with these credentials"):
            choose()

    def test_a_run_without_models_names_the_logs_in_the_store(self, run, choose) -> None:
        trained(run, 0.4, b"")
        with pytest.raises(NoModelError, match=f"such as {run.copies}/trials/0/log.txt"):
            choose()


class TestCopies:
    @pytest.fixture
    def files(self, tmp_path: Path) -> TrialDirectory:
        found = TrialDirectory(tmp_path)
        found.owner.write_text("mine")
        found.log.write_text("")
        return found

    @pytest.fixture
    def place(self, bucket: str) -> str:
        return f"{bucket}/runs/one/trials/0"

    def test_the_log_goes_on_where_the_last_slot_left_it(self, files, place: str) -> None:
        storage.put_bytes(b"of the first slot\n", f"{place}/log.txt")
        copies = Copies(files, place, every=0.01)
        copies.begin(0)
        with files.log.open("a") as log:
            log.write("of the second\n")
        wait(lambda: storage.read_bytes(f"{place}/log.txt").endswith(b"second\n"), 10)
        files.failure.write_text("it was 3")
        copies.end(10)
        assert storage.read_bytes(f"{place}/log.txt") == b"of the first slot\nof the second\n"
        assert storage.read_bytes(f"{place}/failure.txt") == b"it was 3"

    def test_who_was_taken_for_lost_finds_out_and_writes_no_more(self, files, place: str) -> None:
        copies = Copies(files, place, every=0.01)
        copies.begin(0)
        assert is_owned(files, place)
        storage.put_bytes(b"another's", f"{place}/owner.txt")
        assert copies.lost.wait(10)
        files.log.write_text("late words")
        copies.end(10)
        kept = storage.read_bytes(f"{place}/log.txt") if storage.exists(f"{place}/log.txt") else b""
        assert b"late words" not in kept
        assert not is_owned(files, place)

    def test_a_store_that_is_away_is_waited_for(self, files, place, faults, monkeypatch) -> None:
        monkeypatch.setattr("maskline.faults.AWAY_PAUSE", 0.01)
        monkeypatch.setattr("maskline.faults.ATTEMPTS", 1)
        faults.extend(["503 Slow Down"] * 20)
        copies = Copies(files, place, every=60)
        copies.begin(60)
        copies.end(10)
        assert storage.read_bytes(f"{place}/owner.txt") == b"mine"

    def test_patience_ends(self, files, place, faults, monkeypatch) -> None:
        monkeypatch.setattr("maskline.faults.ATTEMPTS", 1)
        faults.extend(["503 Slow Down"] * 100)
        with pytest.raises(AwayError):
            Copies(files, place, every=60).begin(0)

    def test_a_store_that_refuses_is_an_error_at_once(self, files, place, faults) -> None:
        faults.extend(["403 Forbidden"] * 20)
        with pytest.raises(StorageError, match="may not be") as caught:
            Copies(files, place, every=60).begin(600)
        assert not isinstance(caught.value, AwayError)

    def test_without_a_uri_nothing_is_done(self, files) -> None:
        copies = Copies(files, "", every=0.01)
        copies.begin(0)
        copies.end(0)
        assert not copies.is_alive()
