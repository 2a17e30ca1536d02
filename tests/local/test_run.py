"""Whole runs under kfp.local, on real pictures, and what becomes of them when something dies."""

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskline import Input, automl, load_job, study
from maskline.artifacts import TrialDirectory
from maskline.automl import SearchSpace
from maskline.errors import JobError, StageError
from maskline.job import ImageInstanceSegmentationJob
from maskline.pictures import open_upright
from maskline.pipelines.local_runner import Progress, RunFiles, run_local
from maskline.sample_data import write_sample_data
from maskline.sweep import Choice

pytestmark = pytest.mark.local


def make_job(data: Path, kind: str, *, trials: int = 1, **parameters: object) -> ImageInstanceSegmentationJob:
    job = automl.image_instance_segmentation(
        training_data=Input(type=kind, path=str(data)), target_column_name="label"
    )
    job.set_limits(max_trials=trials, max_concurrent_trials=2)
    job.set_training_parameters(
        **{
            "model_name": "maskrcnn_resnet18_fpn_light",
            "number_of_epochs": 1,
            "number_of_workers": 0,
            "min_size": 128,
            "max_size": 192,
            "random_seed": 1,
            **parameters,
        }
    )
    if trials > 1:
        job.extend_search_space(SearchSpace(learning_rate=Choice([0.001, 0.002])))
    return job


def official(run: RunFiles, kind: str) -> list[float]:
    """The twelve numbers as pycocotools itself gives them, from the files that the run left."""
    (truth,) = run.directory.glob("pipeline/*/data-preparation/prepared/validation.json")
    coco = COCO(str(truth))
    evaluator = COCOeval(coco, coco.loadRes(str(run.directory / "predictions.json")), kind)
    evaluator.evaluate()
    evaluator.accumulate()
    evaluator.summarize()
    return [float(value) for value in evaluator.stats]


@pytest.mark.parametrize("name", ["fruits_nuts", "dsb2018"])
def test_real_pictures(name: str, shared_data: Path, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if name == "fruits_nuts":
        job = make_job(shared_data / "fruits_nuts", "coco")
    else:
        job = make_job(request.getfixturevalue("dsb2018_jsonl"), "mltable")
    files = run_local(job, tmp_path / "run")
    assert files.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    numbers = json.loads(files.metrics.read_text(encoding="utf-8"))
    assert list(numbers["mask"].values()) == pytest.approx(official(files, "segm"), abs=1e-9)

    (truth,) = files.directory.glob("pipeline/*/data-preparation/prepared/validation.json")
    first = json.loads(truth.read_text(encoding="utf-8"))["images"][0]
    picture = np.asarray(open_upright(first["file_name"]))
    session = onnxruntime.InferenceSession(str(files.onnx))
    boxes, labels, scores, masks = session.run(None, {"image": picture})
    assert masks.shape == (len(scores), *picture.shape[:2])
    assert len(boxes) == len(labels) == len(scores)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sample_data(tmp_path_factory.mktemp("drawn") / "data", pictures=30, size=64) / "train"


def killer(run: Path, how_many: int) -> Callable[[Progress], None]:
    """Kills so many training processes, with SIGKILL."""
    killed: set[str] = set()

    def watch(progress: Progress) -> None:
        for trial in progress.trials:
            process = TrialDirectory(Path(trial.directory)).process
            child = process.read_text() if trial.directory and process.exists() else ""
            if child and child not in killed and len(killed) < how_many:
                killed.add(child)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child.split(":")[-2]), signal.SIGKILL)

    return watch


def test_a_killed_trial_goes_on(drawn: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = make_job(drawn, "mltable", trials=3, min_size=64, max_size=64)
    files = run_local(job, run, watch=killer(run, 1))
    assert 'id="onnx"' in files.report.read_text(encoding="utf-8")
    (card,) = run.glob("pipeline/*/onnx-export/card")
    assert card.read_text(encoding="utf-8") == (run / "best_model" / "README.md").read_text(encoding="utf-8")
    with files.leaderboard.open(encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert sum(trial.deaths for trial in study.read_trials(study.open_study(run))) == 1
    assert float(rows[0]["score"]) == max(float(row["score"]) for row in rows if row["score"])
    assert files.onnx.exists()


def test_all_trials_killed(drawn: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    job = make_job(drawn, "mltable", trials=2, min_size=64, max_size=64)
    with pytest.raises(StageError, match="trial_selection failed: ") as error:
        run_local(job, run, watch=killer(run, 4))
    assert "killed by SIGKILL" in str(error.value)
    assert not (run / "report.html").exists()


def test_what_was_done_before_a_failure_is_handed_out(drawn: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"

    def watch(progress: Progress) -> None:
        for process in _processes(str(run)) if progress.stages["onnx_export"] == "running" else ():
            if "onnx_export" in Path(f"/proc/{process}/cmdline").read_text():
                os.kill(process, signal.SIGKILL)

    job = make_job(drawn, "mltable", min_size=64, max_size=64)
    with pytest.raises(StageError, match=r"^onnx_export ended without a word; .*kfp\.log") as error:
        run_local(job, run, watch=watch)
    files = RunFiles(run)
    for path in (files.data_report, files.checkpoint, files.leaderboard, files.metrics, files.report):
        assert path.exists()
        assert str(path.relative_to(run)) in str(error.value)
    assert not files.onnx.exists()


def test_bad_data_are_one_clear_line(tmp_path: Path) -> None:
    data = write_sample_data(tmp_path / "data", pictures=12, size=64) / "train"
    for picture in list((data / "images").iterdir())[:3]:
        picture.write_bytes(b"no picture")
    with pytest.raises(StageError, match="data_preparation failed: ") as error:
        run_local(make_job(data, "mltable"), tmp_path / "run")
    assert "max_bad_fraction" in str(error.value)


def test_nothing_of_kfp_leaks(drawn: Path, tmp_path: Path) -> None:
    import builtins
    import logging

    before = (builtins.print, logging.getLogger().handlers[:], logging.getLogger().level)
    seen: list[dict[str, str]] = []
    job = make_job(drawn, "mltable", min_size=64, max_size=64)
    run_local(job, tmp_path / "run", watch=lambda progress: seen.append(dict(progress.stages)))
    assert (builtins.print, logging.getLogger().handlers[:], logging.getLogger().level) == before
    assert set(seen[-1].values()) == {"done"}
    assert any(stages["sweep_trial"] == "running" for stages in seen)
    assert load_job(tmp_path / "run/job.yaml").problems() == []
    assert (tmp_path / "run/logs/kfp.log").stat().st_size > 1000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_goes_on_after_the_command(drawn: Path, tmp_path: Path, number: signal.Signals) -> None:
    job = make_job(drawn, "mltable", number_of_epochs=500, min_size=64, max_size=64)
    job.dump(tmp_path / "job.yaml")
    run = tmp_path / "run"
    command = [str(Path(sys.executable).with_name("maskline")), "run", "job.yaml", "--run-dir", "run"]
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait(lambda: list(run.glob("trials/0/metrics.jsonl")), 120)
        assert _processes(str(run))
        started.send_signal(number)
        started.wait(40)
        _wait(lambda: not _processes(str(run)), 40)
    finally:
        started.kill()
    if number != signal.SIGKILL:
        (trial,) = study.read_trials(study.open_study(run))
        assert (trial.state, trial.reason, trial.deaths) == ("waiting", "", 0)


def test_an_interrupted_run_is_continued(drawn: Path, tmp_path: Path) -> None:
    """Its trials go on where they were, and those that have ended aren't run again."""
    run = tmp_path / "run"
    job = make_job(drawn, "mltable", trials=2, number_of_epochs=4, min_size=64, max_size=64)
    job.set_limits(max_trials=2, max_concurrent_trials=1)

    def interrupt(progress: Progress) -> None:
        if any(trial.number == 1 and trial.epochs_done >= 1 for trial in progress.trials):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_local(job, run, watch=interrupt)
    before = study.read_trials(study.open_study(run))
    assert [trial.state for trial in before] == ["complete", "waiting"]
    with pytest.raises(JobError, match="is not empty; .* continue it with --resume"):
        run_local(job, run)
    files = run_local(job, run, resume=True)
    first, second = study.read_trials(study.open_study(run))
    assert first == before[0]
    assert (second.state, [epoch for epoch, _ in second.curve]) == ("complete", [1, 2, 3, 4])
    assert files.onnx.exists()
    job.set_training_parameters(number_of_epochs=5)
    with pytest.raises(StageError, match="holds the trials of another job"):
        run_local(job, run, resume=True)


def _processes(mark: str) -> list[int]:
    """Processes that have a text in their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if mark in line and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found


def _wait(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)
