"""The cluster's verbs, as typed: what they print, and one clear line and a code when they fail."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standins.kfp_api import KfpApi
from standins.kubernetes_api import KubernetesApi, pod
from typer.testing import CliRunner

from maskline.errors import ClusterError, JobError
from maskline.pipelines.cli import app

Write = Callable[[], Path]


def maskline(*words: str | Path, fails: bool = False) -> str:
    """What a command prints; with `fails`, what its error says."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if fails:
        assert isinstance(result.exception, ClusterError | JobError), result.output
        return "\n".join(result.exception.problems)
    assert result.exit_code == 0, f"{result.output}{result.exception}"
    return result.output


def run_id(text: str) -> str:
    """The id in what submit printed."""
    return text.splitlines()[0].split()[-1]


def test_from_submission_to_the_end(
    job_file: Path, cluster_file: Write, kfp: KfpApi, kubernetes: KubernetesApi
) -> None:
    cluster = cluster_file()
    told = maskline(
        "submit", job_file, "--cluster", cluster, "--set", "data_version=7", "--set", "node_selector={a: b}"
    )
    key = run_id(told)
    assert "experiment: nuts" in told
    assert kfp.runs[key].runtime_config.parameters == {"data_version": "7", "node_selector": {"a": "b"}}
    kfp.runs[key].state = "RUNNING"
    kubernetes.put_pod(pod("x-sweep-trial-1", key, "sweep_trial"))
    kubernetes.logs["x-sweep-trial-1"] = ["trial 0 begins"]
    assert "status:   Running         sweep_trial: 1 running" in maskline("status", key, "-c", cluster)
    assert json.loads(maskline("status", key, "-c", cluster, "--json"))["status"] == "Running"
    assert key in maskline("status", "-c", cluster)
    assert maskline("logs", key, "-c", cluster, "--trial", "0") == "[sweep_trial-1] trial 0 begins\n"
    assert maskline("open", key, "-c", cluster) == f"{kfp.url}/#/runs/details/{key}\n"
    assert maskline("cancel", key, "-c", cluster) == f"run {key}: CancelRequested\n"
    kfp.runs[key].state = "CANCELED"
    assert maskline("retry", key, "-c", cluster) == f"run {key}: Running\n"


def test_watching_ends_as_the_run_does(job_file: Path, cluster_file: Write, kfp: KfpApi) -> None:
    cluster = cluster_file()
    key = run_id(maskline("submit", job_file, "-c", cluster))
    kfp.runs[key].state = "SUCCEEDED"
    assert maskline("status", key, "-c", cluster, "--watch").startswith("Completed")
    kfp.runs[key].state = "FAILED"
    assert maskline("status", key, "-c", cluster, "--watch", fails=True) == f"run {key} ended Failed"


def test_schedules(job_file: Path, cluster_file: Write, kfp: KfpApi) -> None:
    cluster = cluster_file()
    told = maskline("schedule", "create", job_file, "--cron", "0 3 * * 1", "-c", cluster)
    key = run_id(told)
    assert "cron:       0 0 3 * * 1 (UTC)" in told
    assert key in maskline("schedule", "list", "-c", cluster)
    maskline("schedule", "pause", key, "-c", cluster)
    (listed,) = json.loads(maskline("schedule", "list", "-c", cluster, "--json"))
    assert (listed["enabled"], listed["next"]) == (False, None)
    maskline("schedule", "resume", key, "-c", cluster)
    maskline("schedule", "delete", key, "-c", cluster)
    assert maskline("schedule", "list", "-c", cluster) == "no schedules in namespace team-a\n"


def test_the_cluster_file_from_the_environment(cluster_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKLINE_CLUSTER", str(cluster_file()))
    assert maskline("status") == "no runs in namespace team-a\n"


def test_the_doctor_fails_where_a_check_does(
    cluster_file: Write, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maskline.pipelines.cluster.doctor.published", lambda image: True)
    cluster = cluster_file()
    lines = maskline("doctor", "-c", cluster).splitlines()
    assert lines[0].startswith("pass    Kubeflow Pipelines: answers at")
    assert {line.split()[0] for line in lines} == {"pass"}
    del kubernetes.objects["persistentvolumeclaims", "maskline-runs"]
    assert maskline("doctor", "-c", cluster, fails=True) == "1 check failed"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("submit", "JOB", "-c", "none.yaml"), "cluster file none.yaml: No such file or directory"),
        (("submit", "JOB", "-c", "CLUSTER", "--set", "x"), "--set x is not legal; write NAME=VALUE"),
        (("submit", "JOB", "-c", "CLUSTER", "--set", "x=1"), "parameter x is not legal"),
        (("status", "4711", "-c", "CLUSTER"), "run 4711 is not there"),
        (("cancel", "4711", "-c", "CLUSTER"), "run 4711 is not there"),
        (("logs", "4711", "-c", "CLUSTER"), "run 4711 is not there"),
        (("logs", "4711", "-c", "CLUSTER", "--stage", "sweep"), "--stage sweep is no stage; did you mean"),
        (("schedule", "create", "JOB", "--cron", "x", "-c", "CLUSTER"), "cron='x' has 1 fields"),
        (("schedule", "delete", "4711", "-c", "CLUSTER"), "schedule 4711 is not there"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(
    words: Any, said: str, job_file: Path, cluster_file: Write, kfp: KfpApi
) -> None:
    named = {"JOB": job_file, "CLUSTER": cluster_file()}
    assert said in maskline(*(named.get(word, word) for word in words), fails=True)
    assert kfp.made("POST") in ([], [f"POST {r.path}" for r in kfp.asked if r.path.endswith("terminate")])
    assert kfp.runs == kfp.experiments == kfp.schedules == {}


def test_a_failure_is_one_line_and_a_code(cluster_file: Write, kfp: KfpApi) -> None:
    kfp.token = "another"
    command = [sys.executable, "-m", "maskline.pipelines.cli", "status", "-c", str(cluster_file())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Kubeflow Pipelines at http://127.0.0.1:")
