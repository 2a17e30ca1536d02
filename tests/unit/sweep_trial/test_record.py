"""What a training tells of itself: lines and curves, without what is trained anew."""

import json
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event

from maskline.artifacts import TrialDirectory
from maskline.components.sweep_trial.record import Record
from maskline.components.sweep_trial.resume import Progress

LOSSES = {"train_loss": 2.0, "loss_mask": 0.5}


def points(files: TrialDirectory) -> dict[str, dict[int, float]]:
    """What TensorBoard shows: by curve and step; a purge drops the steps from there on."""
    found: dict[str, dict[int, float]] = {}
    for file in sorted(files.tensorboard.iterdir(), key=lambda file: file.stat().st_mtime_ns):
        content = file.read_bytes()
        while content:  # TFRecord: length, its checksum, an event, its checksum
            (length,) = struct.unpack("<Q", content[:8])
            event = Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            if event.HasField("session_log"):
                found = {n: {s: v for s, v in c.items() if s < event.step} for n, c in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def run(files: TrialDirectory, progress: Progress, steps: int, metrics: dict, total: int = 10) -> None:
    record = Record(files, progress, total)
    for _ in range(steps):
        progress.add(LOSSES, pictures=4, seconds=2.0, waited=0.5)
        record.step(LOSSES, 0.01 * progress.total, 2.0, 0.25)
    record.epoch(0.03, metrics)
    record.close()


def test_lines_and_curves(tmp_path: Path) -> None:
    files, progress = TrialDirectory(tmp_path), Progress()
    run(files, progress, 3, {"score": 0.5, "mask_AP": 0.25})
    (line,) = [json.loads(line) for line in files.metrics.read_text().splitlines()]
    assert line == {
        "epoch": 1,
        "train_loss": 2.0,
        "loss_mask": 0.5,
        "learning_rate": 0.03,
        "images_per_second": 2.0,
        "data_seconds": 1.5,
        "score": 0.5,
        "mask_AP": 0.25,
        "seconds": 6.0,
    }
    curves = points(files)
    assert curves["train/loss_mask"] == {1: 0.5, 2: 0.5, 3: 0.5}
    assert curves["train/learning_rate"] == pytest.approx({1: 0.01, 2: 0.02, 3: 0.03})
    assert curves["train/images_per_second"][1] == 2.0
    assert curves["train/waiting_share"][1] == 0.25
    assert curves["validation/mask_AP"] == {3: 0.25}


def test_an_epoch_without_evaluation_repeats_no_metric(tmp_path: Path) -> None:
    files, progress = TrialDirectory(tmp_path), Progress()
    run(files, progress, 1, {"score": 0.5})
    progress.next_epoch()
    run(files, progress, 1, {})
    first, second = (json.loads(line) for line in files.metrics.read_text().splitlines())
    assert set(first) - set(second) == {"score"}
    assert points(files)["validation/score"] == {1: 0.5}


def test_what_is_trained_anew_is_told_anew(tmp_path: Path) -> None:
    files, progress = TrialDirectory(tmp_path), Progress()
    run(files, progress, 2, {"score": 0.1})
    kept = Progress(epoch=2, total=2, lines=1, seconds=progress.seconds)
    progress.next_epoch()
    run(files, progress, 3, {"score": 0.2})
    run(files, kept, 1, {"score": 0.3})
    scores = [json.loads(line)["score"] for line in files.metrics.read_text().splitlines()]
    assert scores == [0.1, 0.3]
    assert points(files)["train/train_loss"].keys() == {1, 2, 3}
    assert points(files)["validation/score"] == pytest.approx({2: 0.1, 3: 0.3})


def test_a_kill_while_the_lines_are_cut_costs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, progress = TrialDirectory(tmp_path), Progress()
    run(files, progress, 2, {"score": 0.1})
    before = files.metrics.read_bytes()

    def killed(path: Path, text: str, **_: str) -> None:
        with path.open("w") as stream:
            stream.write(text[: len(text) // 2])
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        Record(files, Progress(epoch=2, total=2, lines=1), 10)
    assert files.metrics.read_bytes() == before


def test_long_trainings_have_a_thousand_points(tmp_path: Path) -> None:
    files = TrialDirectory(tmp_path)
    run(files, Progress(), 100, {}, total=50_000)
    assert points(files)["train/train_loss"].keys() == {50, 100}


def test_who_does_not_lead_writes_nothing(tmp_path: Path) -> None:
    progress = Progress()
    record = Record(TrialDirectory(tmp_path), progress, 10, writes=False)
    progress.add(LOSSES, 4, 2.0, 0.5)
    record.step(LOSSES, 0.01, 2.0, 0.25)
    record.epoch(0.01, {"score": 0.5})
    record.close()
    assert list(tmp_path.iterdir()) == []
    assert progress.lines == 1
