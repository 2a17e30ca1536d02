"""The trials of a run, by what its slots have logged."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from standins.kfp_api import KfpApi
from standins.kubernetes_api import KubernetesApi, pod
from typer.testing import CliRunner

import maskline
from maskline.artifacts import TRIAL_RECORD, TrialRecord
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.cli import app
from maskline.pipelines.cluster.kept_logs import Log
from maskline.pipelines.cluster.trials import read_trials

Write = Callable[[], Path]
BEGUN = TrialRecord(3, "running", parameters={"learning_rate": 0.01}, epochs=4)
CURVE = ((1, 0.25), (4, 0.125))
ENDED = replace(BEGUN, state="complete", score=0.25, best_epoch=1, epochs_done=4, curve=CURVE)


def epoch(number: int, score: float | None = None) -> str:
    """As a training process tells of an epoch."""
    scored = "" if score is None else f", score {score:.4g}"
    return f"epoch {number}: learning_rate 1e-05{scored}, images_per_second 3, seconds {number * 20:.4g}"


def log(*lines: str | TrialRecord, ended: bool = False) -> Log:
    def text(line: str | TrialRecord) -> str:
        return line if isinstance(line, str) else f"{TRIAL_RECORD}{json.dumps(line.to_json())}"

    return Log("slot", "sweep_trial", "\n".join(map(text, lines)), ended)


def test_a_trial_under_way() -> None:
    slot = log("trial 3 begins", BEGUN, epoch(1, 0.25), epoch(2), epoch(3, 1e-05), "a warning")
    (found,) = read_trials([slot])
    curve = ((1, 0.25), (3, 1e-05))
    assert found == replace(BEGUN, score=0.25, best_epoch=1, epochs_done=3, curve=curve, seconds=60.0)


def test_a_trial_that_lost_its_slot_waits_and_goes_on() -> None:
    first = log(BEGUN, epoch(1, 0.25), epoch(2, 0.5), ended=True)
    (found,) = read_trials([first])
    assert (found.state, found.epochs_done, found.score) == ("waiting", 2, 0.5)
    (found,) = read_trials([first, log(BEGUN, epoch(2, 0.5), epoch(3, 0.125))])
    assert (found.state, found.curve) == ("running", ((1, 0.25), (2, 0.5), (3, 0.125)))


def test_the_end_is_what_the_study_has() -> None:
    slot = log(BEGUN, epoch(1, 0.25), ENDED, replace(BEGUN, number=1), epoch(1, 0.75), ended=True)
    lost = replace(BEGUN, number=1, state="waiting", curve=((1, 0.75),), score=0.75, best_epoch=1)
    assert read_trials([slot]) == [replace(lost, epochs_done=1, seconds=20.0), ENDED]


def test_the_command(
    cluster_file: Write, job: ImageInstanceSegmentationJob, kfp: KfpApi, kubernetes: KubernetesApi
) -> None:
    path = cluster_file()
    run_id = str(maskline.Client(path).submit(job).id)
    kubernetes.put_pod(pod("x-1", run_id, "sweep_trial", "Succeeded"))
    kubernetes.put_pod(pod("x-2", run_id, "sweep_trial", "Running"))
    kubernetes.put_pod(pod("x-3", run_id, "sweep_trial", "Pending"))
    kubernetes.logs["x-1"] = log(BEGUN, ENDED).text.splitlines()
    kubernetes.logs["x-2"] = log(replace(BEGUN, number=4), epoch(1, 0.5)).text.splitlines()
    result = CliRunner().invoke(app, ["trials", run_id, "--cluster", str(path), "--json"])
    assert result.exit_code == 0, result.output
    assert [(t["number"], t["state"], t["score"]) for t in json.loads(result.output)] == [
        (3, "complete", 0.25), (4, "running", 0.5),
    ]  # fmt: skip
    shown = CliRunner().invoke(app, ["trials", run_id, "--cluster", str(path)]).output
    assert [line.split()[1] for line in shown.splitlines() if "/4" in line] == ["complete", "running"]
