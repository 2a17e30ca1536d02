"""The best trial is chosen, the choice explained, and failure is an error with its causes."""

import csv
import json
from pathlib import Path

import pytest
from PIL import Image

from maskline.artifacts import TrialDirectory, TrialRecord
from maskline.components.trial_selection.select import select
from maskline.errors import NoModelError


def trial(folder: Path, number: int, score: float | None, state: str = "complete", **more) -> TrialRecord:
    directory = TrialDirectory(folder / "trials" / str(number))
    directory.path.mkdir(parents=True)
    if state == "complete":
        directory.best.write_bytes(f"weights of {number}".encode())
    return TrialRecord(number, state, score, 1, {"learning_rate": 0.1}, directory=str(directory.path), **more)


def chosen(folder: Path, trials: list[TrialRecord]) -> TrialRecord:
    return select(trials, folder / "board", folder / "model", classes=("date", "fig"))


def board(folder: Path) -> list[dict[str, str]]:
    with (folder / "board/leaderboard.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_best_trial_is_copied_and_everything_is_written(tmp_path):
    trials = [
        trial(tmp_path, 0, 0.3, curve=((1, 0.3),)),
        trial(tmp_path, 1, 0.6, curve=((1, 0.6),)),
        trial(tmp_path, 2, 0.9, state="failed", reason="killed by signal 9"),
    ]
    best = chosen(tmp_path, trials)
    assert (best.number, best.reason) == (1, "best score")
    assert (tmp_path / "model/checkpoint.safetensors").read_bytes() == b"weights of 1"
    assert json.loads((tmp_path / "model/labels.json").read_text()) == ["date", "fig"]
    assert [row["trial"] for row in board(tmp_path)] == ["1", "0", "2"]
    assert board(tmp_path)[2]["reason"] == "killed by signal 9"
    records = json.loads((tmp_path / "board/trials.json").read_text())
    assert [TrialRecord.from_json(record) for record in records] == [trials[0], best, trials[2]]
    assert Image.open(tmp_path / "board/leaderboard.png").format == "PNG"


def test_of_equal_scores_the_earlier_trial_wins_and_it_is_said(tmp_path):
    best = chosen(tmp_path, [trial(tmp_path, n, 0.5) for n in (3, 1, 2)])
    assert best.number == 1
    assert board(tmp_path)[0]["reason"] == "best score, shared with trial 2, 3; the earlier trial wins"


def test_a_trial_without_its_checkpoint_is_passed_over_and_it_is_said(tmp_path, caplog):
    trials = [trial(tmp_path, 0, 0.3), trial(tmp_path, 1, 0.6)]
    gone = TrialDirectory(Path(trials[1].directory)).best
    gone.unlink()
    assert chosen(tmp_path, trials).number == 0
    assert (tmp_path / "model/checkpoint.safetensors").read_bytes() == b"weights of 0"
    reason = f"passed over: its checkpoint {gone} is missing"
    assert board(tmp_path)[1]["reason"] == reason
    assert reason in caplog.text


def test_no_model_is_an_error_with_counted_causes(tmp_path):
    trials = [
        trial(tmp_path, 0, None, state="failed", reason="diverged"),
        trial(tmp_path, 1, None, state="failed", reason="CUDA out of memory"),
        trial(tmp_path, 2, None, state="failed", reason="CUDA out of memory"),
        trial(tmp_path, 3, 0.4, state="running"),
        trial(tmp_path, 4, None),
    ]
    with pytest.raises(NoModelError) as error:
        chosen(tmp_path, trials)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("none of 5 trials gave a model; remove the causes, and read")
    assert lines[0].endswith("log.txt:")
    assert lines[1:] == [
        "  2 x CUDA out of memory (trial 1, 2)",
        "  1 x diverged (trial 0)",
        "  1 x still running when the sweep ended (trial 3)",
        "  1 x complete, but score=None is not a number (trial 4)",
    ]
    assert len(board(tmp_path)) == 5
    assert not (tmp_path / "model").exists()


def test_trials_that_no_slot_continued_are_named(tmp_path, caplog):
    left = TrialRecord(4, "waiting", 0.9, 1, directory=str(tmp_path / "4"))
    assert chosen(tmp_path, [trial(tmp_path, 3, 0.5), left]).number == 3
    assert "no slot was left to continue them: trials 4." in caplog.text


def test_no_trial_at_all_is_an_error(tmp_path):
    with pytest.raises(NoModelError, match="ran no trial.*max_trials"):
        chosen(tmp_path, [])
