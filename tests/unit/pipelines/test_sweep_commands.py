"""`maskline trials` and `maskline automode`, as a person calls them."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState
from typer.testing import CliRunner

from maskline import study
from maskline.errors import StageError
from maskline.pipelines.cli import app
from maskline.sample_data import write_sample_data


def call(*words: str) -> str:
    result = CliRunner().invoke(app, list(words), env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def run(tmp_path: Path) -> Path:
    opened = study.open_study(tmp_path / "run")
    for number, score in enumerate((0.2, 0.5, None)):
        trial = opened.ask()
        trial.set_user_attr(study.PARAMETERS, {"learning_rate": 0.001 * (number + 1)})
        trial.set_user_attr(study.EPOCHS, 4)
        if score is None:
            trial.set_user_attr(study.REASON, "the training diverged")
            opened.tell(trial, state=TrialState.FAIL)
        else:
            trial.report(score, 2)
            opened.tell(trial, score)
    running = opened.ask()
    running.set_user_attr(study.EPOCHS, 10)
    running.set_user_attr(study.PROGRESS, {"epochs_done": 4, "seconds": 3600.0})
    running.set_user_attr(study.DEVICE, "GPU 1")
    return tmp_path / "run"


def test_trials_are_shown_best_first(run: Path) -> None:
    lines = call("trials", str(run)).splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["1", "complete"],
        ["0", "complete"],
        ["2", "failed"],
        ["3", "running"],
    ]
    assert "learning_rate=0.002" in lines[1]
    assert "the training diverged" in lines[3]
    assert "1:30:00" in lines[4]  # six of ten epochs are left, at a quarter of an hour each


def test_trials_as_json(run: Path) -> None:
    found = json.loads(call("trials", str(run), "--json"))
    scores = [(trial["number"], trial["score"]) for trial in found]
    assert scores == [(1, 0.5), (0, 0.2), (2, None), (3, None)]


def test_a_run_that_isnt_there(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"there is no run .*/nowhere"):
        call("trials", str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


def test_a_database_that_is_away_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A stage waits for it; a person is told."""
    monkeypatch.setenv("MASKLINE_STUDY_URL", "postgresql://nobody:secret@127.0.0.1:1/base")
    with pytest.raises(StageError, match="can't be reached: .*Connection refused; see whether it runs"):
        call("trials", str(tmp_path / "nowhere"))
    assert capfd.readouterr().out == ""
    assert not (tmp_path / "nowhere").exists()


def test_automode_is_shown(tmp_path: Path) -> None:
    write_sample_data(tmp_path / "data", pictures=15, size=64)
    job = tmp_path / "job.yaml"
    text = (
        "type: automl\ntask: image_instance_segmentation\ntarget_column_name: label\n"
        "training_data: {type: mltable, path: ./data/train}\nlimits: {max_trials: 12}\n"
    )
    job.write_text(text)
    shown = call("automode", str(job), "--gpu-memory", "0")
    assert "shorter side 64 px" in shown
    assert "model_name: maskrcnn_resnet18_fpn_light" in shown
    assert "24 GiB" in call("automode", str(job), "--gpu-memory", "24")
    job.write_text(text.replace("12", "1"))
    result = CliRunner().invoke(app, ["automode", str(job)])
    assert result.exit_code == 2
    assert "limits.max_trials" in result.output
