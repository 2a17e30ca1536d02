"""The door's work: study in, model out, also into the run directory."""

import json
from pathlib import Path

import pytest

from maskline import Input, automl, study
from maskline.artifacts import TrialRecord
from maskline.components.trial_selection.select_best import select_best
from maskline.errors import StageError
from maskline.job import ImageInstanceSegmentationJob


@pytest.fixture
def job() -> ImageInstanceSegmentationJob:
    return automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="."), target_column_name="label"
    )


def a_trial(run: Path, score: float) -> str:
    opened = study.open_study(run)
    trial = opened.ask()
    directory = run / "trials" / str(trial.number)
    directory.mkdir(parents=True)
    (directory / "best.safetensors").write_text(str(score))
    trial.set_user_attr(study.DIRECTORY, str(directory))
    trial.report(score, 1)
    opened.tell(trial.number, score)
    return json.dumps(TrialRecord(trial.number, "complete", score).to_json())


def test_the_best_model_is_handed_over_and_kept(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    outcomes = [a_trial(run, score) for score in (0.2, 0.7, 0.4)]
    best = select_best(job, outcomes, run, tiny_prepared, tmp_path / "board", tmp_path / "model")
    assert best.number == 1
    for folder in (tmp_path / "model", run / "model"):
        assert (folder / "checkpoint.safetensors").read_text() == "0.7"
        assert json.loads((folder / "labels.json").read_text())[0] == "disc"


def test_trials_that_wrote_elsewhere_are_missed(
    job: ImageInstanceSegmentationJob, tiny_prepared: Path, tmp_path: Path
) -> None:
    outcomes = [a_trial(tmp_path / "other", score) for score in (0.2, 0.7)]
    with pytest.raises(StageError, match=r"trials \[0, 1\] are not in the study .* set run_root"):
        select_best(job, outcomes, tmp_path / "run", tiny_prepared, tmp_path / "board", tmp_path / "model")
