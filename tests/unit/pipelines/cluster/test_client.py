"""Runs in a stand-in of Kubeflow Pipelines, from Python."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standins.kfp_api import KfpApi
from standins.kubernetes_api import KubernetesApi, ended, node, pod, unscheduled, waiting
from standins.server import Answer, Fault

import maskline
from maskline.errors import ClusterError, JobError, UnansweredError
from maskline.job import ImageInstanceSegmentationJob

Write = Callable[[], Path]
GATED = unscheduled("SchedulingGated", "")
BACK_OFF = waiting("ImagePullBackOff", "no such tag")
Job = ImageInstanceSegmentationJob


@pytest.fixture
def client(cluster_file: Write) -> maskline.Client:
    return maskline.Client(cluster_file())


def submitted(client: maskline.Client, job: Job) -> str:
    """Id of a run."""
    return str(client.submit(job).id)


class TestSubmit:
    """A run is created, or nothing is."""

    def test_the_run_is_the_compiled_job(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        sent = client.submit(job, {"data_version": "7"})
        (run,) = kfp.runs.values()
        assert sent.id == run.run_id
        assert run.runtime_config.parameters == {"data_version": "7"}
        assert run.pipeline_spec["pipeline_spec"]["root"]["dag"]["tasks"]["data-preparation"]
        executors = run.pipeline_spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"][
            "executors"
        ]
        assert executors["exec-sweep-trial"]["pvcMount"][0]["mountPath"] == "/maskline/runs"
        (experiment,) = kfp.experiments.values()
        assert (experiment.display_name, experiment.namespace) == ("nuts", "team-a")

    def test_the_job_is_filled(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        sent = client.submit(job)
        assert sent.status == "Starting"
        assert sent.studio_url == f"{kfp.url}/#/runs/details/{sent.id}"
        assert sent.creation_context is not None
        assert str(sent.creation_context["created_at"]).startswith("2026-11-25T12:00:0")
        assert (job.id, job.status) == (None, None)

    def test_an_experiment_is_used_again(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        first, second = client.submit(job), client.submit(job)
        assert first.id != second.id
        assert len(kfp.experiments) == 1

    def test_an_archived_experiment_is_told(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        client.submit(job)
        (experiment,) = kfp.experiments.values()
        experiment.storage_state = "ARCHIVED"
        with pytest.raises(ClusterError, match="experiment nuts in namespace team-a is archived; restore it"):
            client.submit(job)
        assert len(kfp.runs) == 1

    def test_the_service_account(self, described: Any, cluster_file: Write, job: Job, kfp: KfpApi,
                                 kubernetes: KubernetesApi) -> None:  # fmt: skip
        described["service_account"] = "trainer"
        kubernetes.put("serviceaccounts", "trainer")
        maskline.Client(cluster_file()).submit(job)
        (run,) = kfp.runs.values()
        assert run.service_account == "trainer"

    def test_a_run_root_that_no_study_can_live_with(
        self, described: Any, cluster_file: Write, job: Job, kfp: KfpApi
    ) -> None:
        parameters = {"run_root": "s3://bucket/runs"}
        maskline.Client(cluster_file()).submit(job, parameters)
        del described["study"]
        with pytest.raises(JobError, match="run_root=s3://bucket/runs can't hold a study's journal"):
            maskline.Client(cluster_file()).submit(job, parameters)
        with pytest.raises(JobError, match="run_root=/elsewhere lies on none of the volumes"):
            maskline.Client(cluster_file()).submit(job, {"run_root": "/elsewhere"})
        assert len(kfp.runs) == 1

    def test_a_parameter_that_is_not_legal(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        with pytest.raises(JobError, match="parameter data_vers is not legal; did you mean data_version?"):
            client.submit(job, {"data_vers": "1"})
        assert kfp.asked == []
        with pytest.raises(
            JobError, match="parameter data_version holds {{, which KFP takes for a placeholder"
        ):
            client.submit(job, {"data_version": "{{today}}"})
        assert kfp.asked == []

    def test_data_that_no_pod_sees(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        job.training_data = maskline.Input(type="mltable", path="/home/me/train")
        with pytest.raises(JobError, match="/home/me/train is on no volume that stages mount; give a URI"):
            client.submit(job)
        assert kfp.asked == []

    def test_all_that_is_missing_is_told_at_once(
        self, described: Any, cluster_file: Write, job: Job, kfp: KfpApi, kubernetes: KubernetesApi
    ) -> None:
        described["volumes"] = [{"claim": "gone", "path": "/maskline/runs"}]
        described["secrets"] = [{"name": "store", "env": {"KEY": "key"}}]
        described["service_account"] = "nobody"
        kubernetes.put("secrets", "maskline-study", data={"address": "eA=="})
        with pytest.raises(ClusterError) as caught:
            maskline.Client(cluster_file()).submit(job)
        assert [problem.split(";")[0] for problem in caught.value.problems] == [
            "claim gone: is not in team-a",
            "secret store: is not in team-a",
            "secret maskline-study: lacks url",
            "service account nobody: is not in team-a",
        ]
        assert kfp.made() == []

    def test_kubeflow_that_is_too_old_gets_no_run(
        self, client: maskline.Client, job: Job, kfp: KfpApi
    ) -> None:
        kfp.version = "2.4.1"
        with pytest.raises(
            ClusterError, match="version: Kubeflow Pipelines 2.4.1 is too old; upgrade to 2.15"
        ):
            client.submit(job)
        assert kfp.made() == []

    def test_without_kubernetes_the_run_is_submitted_all_the_same(
        self, client: maskline.Client, job: Job, kfp: KfpApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KUBECONFIG", "/nowhere")
        sent = client.submit(job)
        assert sent.status == "Starting"

    def test_an_experiment_made_for_a_run_that_is_refused_is_deleted(
        self, client: maskline.Client, job: Job, kfp: KfpApi
    ) -> None:
        refused = Answer({"error": "quota", "code": 3, "message": "quota is used up"}, 400)
        kfp.faults.append(Fault("POST /apis/v2beta1/runs$", refused))
        with pytest.raises(ClusterError, match="the run: Kubeflow Pipelines answers 400, quota is used up"):
            client.submit(job)
        assert kfp.experiments == {}
        assert kfp.runs == {}

    def test_an_experiment_that_was_there_stays(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        client.submit(job)
        kfp.faults.append(Fault("POST /apis/v2beta1/runs$", Answer({"message": "no"}, 500)))
        with pytest.raises(ClusterError):
            client.submit(job)
        assert len(kfp.experiments) == len(kfp.runs) == 1

    def test_a_run_is_never_asked_for_twice(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        kfp.faults.append(Fault("POST /apis/v2beta1/runs$", Answer("busy", 503), times=1))
        with pytest.raises(ClusterError, match="answers 503, busy; try again"):
            client.submit(job)
        assert kfp.made("POST").count("POST /apis/v2beta1/runs") == 1

    def test_a_run_that_is_not_answered_for_may_be_there(
        self, client: maskline.Client, job: Job, kfp: KfpApi, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("maskline.pipelines.cluster.connection.TIMEOUT", (5, 1.0))
        kfp.faults.append(Fault("POST /apis/v2beta1/runs$", delay=1.5))
        with pytest.raises(UnansweredError, match="the run may have been created all the same: look"):
            client.submit(job)
        time.sleep(1)  # the answer comes too late
        (run,) = kfp.runs.values()
        assert [run.experiment_id] == list(kfp.experiments)

    def test_one_user_has_one_namespace(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        kfp.multi_user = False
        kfp.routes[0] = (kfp.routes[0][0], lambda request: Answer({"pipeline_store": "database"}))
        with pytest.raises(ClusterError, match="set up for one user: runs go to kubeflow, and not to team-a"):
            client.submit(job)
        assert kfp.made() == []


class TestStatus:
    """Azure's words for what pods do."""

    @pytest.mark.parametrize(
        ("kfp_state", "state"),
        [
            ("SUCCEEDED", "Completed"), ("FAILED", "Failed"), ("CANCELING", "CancelRequested"),
            ("CANCELED", "Canceled"), ("PAUSED", "Paused"), ("NEW", "Unknown"), ("PENDING", "Starting"),
        ],
    )  # fmt: skip
    def test_kfps_own_words(
        self, kfp_state: str, state: str, client: maskline.Client, job: Job, kfp: KfpApi
    ) -> None:
        run_id = submitted(client, job)
        kfp.runs[run_id].state = kfp_state
        assert client.status(run_id).state == state

    @pytest.mark.parametrize(
        ("pods", "event", "state", "trouble"),
        [
            ([], None, "Running", None),
            ([("", {"phase": "Running"})], None, "Running", None),
            (
                [("sweep_trial", {"phase": "Pending", "node": "", "conditions": unscheduled()})],
                None, "Queued", "Unschedulable (0/3 nodes are available); no node has what it asks for",
            ),
            (
                [("sweep_trial", {"phase": "Pending", "node": "", "conditions": unscheduled()})],
                "TriggeredScaleUp", "Provisioning", "Unschedulable",
            ),
            (
                [("sweep_trial", {"phase": "Pending", "node": "", "conditions": GATED})],
                None, "Queued", "SchedulingGated; Kueue holds it back",
            ),
            (
                [("sweep_trial", {"phase": "Pending", "container_statuses": waiting("ContainerCreating")})],
                None, "Preparing", None,
            ),
            (
                [("sweep_trial", {"phase": "Pending", "container_statuses": BACK_OFF})],
                None, "Preparing", "ImagePullBackOff (no such tag); is the image in the registry",
            ),
            (
                [
                    ("sweep_trial", {"phase": "Running"}),
                    ("sweep_trial", {"phase": "Pending", "node": "", "conditions": unscheduled()}),
                ],
                None, "Running", "Unschedulable",
            ),
            ([("sweep_trial", {"phase": "Running", "node": "silent"})], None, "NotResponding", None),
            (
                [("sweep_trial", {"phase": "Succeeded"}), ("evaluation", {"phase": "Running"})],
                None, "Finalizing", None,
            ),
            (
                [("data_preparation", {"phase": "Failed", "container_statuses": ended("OOMKilled", 137)})],
                None, "Running", "OOMKilled (exit code 137); give its compute more memory",
            ),
            (
                [("sweep_trial", {"phase": "Failed", "reason": "Evicted", "message": "low on memory"})],
                None, "Running", "Evicted (low on memory); its node ran out of memory or disk",
            ),
        ],
    )  # fmt: skip
    def test_what_pods_do(
        self, pods: Any, event: str | None, state: str, trouble: str | None, client: maskline.Client,
        job: Job, kfp: KfpApi, kubernetes: KubernetesApi,
    ) -> None:  # fmt: skip
        run_id = submitted(client, job)
        kfp.runs[run_id].state = "RUNNING"
        kubernetes.nodes.append(node("silent", ready="Unknown"))
        for number, (stage, status) in enumerate(pods):
            made = pod(
                f"p-{number}", run_id, stage, **{k: v for k, v in status.items() if k in ("phase", "node")}
            )
            names = {"container_statuses": "containerStatuses"}
            made["status"] |= {names.get(k, k): v for k, v in status.items() if k not in ("phase", "node")}
            kubernetes.put_pod(made)
        if event:
            kubernetes.event("p-0", event)
        kubernetes.put_pod(pod("of-another-run", "another", "sweep_trial"))
        found = client.status(run_id)
        assert found.state == state
        assert any(trouble in line for line in found.troubles) if trouble else not found.troubles, (
            found.troubles
        )

    def test_many_pods_come_page_by_page(self, client: maskline.Client, job: Job, kfp: KfpApi,
                                         kubernetes: KubernetesApi) -> None:  # fmt: skip
        run_id = submitted(client, job)
        kfp.runs[run_id].state = "RUNNING"
        kubernetes.page = 10
        for number in range(23):
            kubernetes.put_pod(pod(f"trial-{number}", run_id, "sweep_trial"))
        assert client.status(run_id).stages == {"sweep_trial": {"Running": 23}}

    def test_without_rights_in_kubernetes_kfp_alone_is_told(
        self, client: maskline.Client, job: Job, kfp: KfpApi, kubernetes: KubernetesApi
    ) -> None:
        run_id = submitted(client, job)
        kfp.runs[run_id].state = "RUNNING"
        kubernetes.denied = {"pods"}
        found = client.status(run_id)
        assert (found.state, found.seen) == ("Running", False)

    def test_a_silent_study_does_not_respond(
        self, client: maskline.Client, job: Job, kfp: KfpApi, tmp_path: Path, kubernetes: KubernetesApi,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        import time

        import optuna

        run_id = submitted(client, job)
        kfp.runs[run_id].state = "RUNNING"
        kubernetes.put_pod(pod("trial-0", run_id, "sweep_trial"))
        monkeypatch.setenv("MASKLINE_STUDY_URL", f"sqlite:///{tmp_path}/studies.db")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(study_name=run_id, storage=f"sqlite:///{tmp_path}/studies.db")
        trials = [study.ask(), study.ask()]
        trials[0].set_user_attr("seen", time.time() - 3000)
        assert client.status(run_id).state == "NotResponding"
        trials[1].set_user_attr("seen", time.time() - 30)
        assert client.status(run_id).state == "Running"

    def test_why_a_run_failed(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        import kfp_server_api as api

        run_id = submitted(client, job)
        run = kfp.runs[run_id]
        failed = api.V2beta1PipelineTaskDetail(
            display_name="data-preparation", state="FAILED", error=api.GoogleRpcStatus(message="exit code 1")
        )
        run.state, run.run_details = "FAILED", api.V2beta1RunDetails(task_details=[failed])
        assert client.status(run_id).error == "data-preparation: exit code 1"

    def test_runs_are_listed_youngest_first_over_pages(self, client: maskline.Client, job: Job, kfp: KfpApi,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
        ids = [submitted(client, job) for _ in range(5)]
        monkeypatch.setattr("maskline.pipelines.cluster.connection.PAGE", 2)
        assert [run.run_id for run in client.runs()] == ids[::-1]
        assert [run.run_id for run in client.runs(limit=3)] == ids[:1:-1]

    def test_the_job_of_a_run(
        self, client: maskline.Client, job: Job, kfp: KfpApi, kubernetes: KubernetesApi
    ) -> None:
        run_id = submitted(client, job)
        kfp.runs[run_id].state = "SUCCEEDED"
        kubernetes.put_pod(pod("x-sweep-trial-77", run_id, "sweep_trial", "Succeeded"))
        found = client.get(run_id)
        assert found.status == "Completed"
        assert found.limits == job.limits
        assert found.log_files is not None
        assert found.log_files["sweep_trial-77"].startswith(
            f"{kubernetes.url}/api/v1/namespaces/team-a/pods/x-sweep"
        )


class TestEnds:
    """Waiting, stopping, repeating."""

    def test_waiting_tells_every_change_and_survives_short_failures(
        self, client: maskline.Client, job: Job, kfp: KfpApi, kubernetes: KubernetesApi
    ) -> None:
        run_id = submitted(client, job)
        run = kfp.runs[run_id]
        told: list[str] = []

        def watch(status: Any) -> None:
            told.append(status.state)
            if status.state == "Starting":
                run.state = "RUNNING"
                kubernetes.put_pod(pod("t", run_id, "sweep_trial"))
                kfp.faults.append(Fault("GET .*/runs/", Answer("bad gateway", 502), times=4))
            else:
                run.state = "SUCCEEDED"

        assert client.wait(run_id, watch, timeout=20).state == "Completed"
        assert told == ["Starting", "Running", "Completed"]

    def test_waiting_has_an_end(self, client: maskline.Client, job: Job) -> None:
        run_id = submitted(client, job)
        with pytest.raises(ClusterError, match=r"goes on after 0.1 seconds"):
            client.wait(run_id, timeout=0.1)

    def test_cancel(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        run_id = submitted(client, job)
        assert client.cancel(run_id).state == "CancelRequested"
        assert client.cancel(run_id).state == "CancelRequested"
        kfp.runs[run_id].state = "CANCELED"
        with pytest.raises(ClusterError, match="is Canceled already; there is nothing to cancel"):
            client.cancel(run_id)

    def test_retry(self, client: maskline.Client, job: Job, kfp: KfpApi) -> None:
        run_id = submitted(client, job)
        with pytest.raises(ClusterError, match="is Starting; only a failed or cancelled run can be retried"):
            client.retry(run_id)
        kfp.runs[run_id].state = "FAILED"
        assert client.retry(run_id).state == "Running"

    def test_a_run_that_is_not_there(self, client: maskline.Client) -> None:
        for ask in (client.status, client.cancel, client.retry, client.get):
            with pytest.raises(ClusterError, match="run 4711 is not there .*Run 4711 not found"):
                ask("4711")


class TestLogs:
    """What stages print."""

    @pytest.fixture
    def run_id(self, client: maskline.Client, job: Job, kfp: KfpApi, kubernetes: KubernetesApi) -> str:
        run_id = submitted(client, job)
        kfp.runs[run_id].state = "SUCCEEDED"
        for number, trial in ((10, 1), (11, 0)):
            kubernetes.put_pod(pod(f"x-sweep-trial-{number}", run_id, "sweep_trial", "Succeeded"))
            kubernetes.logs[f"x-sweep-trial-{number}"] = [
                f"trial {trial} begins",
                f"epoch 1 of trial {trial}",
            ]
        kubernetes.put_pod(pod("x-driver-12", run_id, "", "Succeeded"))
        kubernetes.put_pod(pod("x-evaluation-13", run_id, "evaluation", "Pending"))
        return run_id

    def test_every_line_has_its_pod(self, client: maskline.Client, run_id: str) -> None:
        assert list(client.logs(run_id)) == [
            "[evaluation-13] waits for a node or an image",
            "[sweep_trial-10] trial 1 begins", "[sweep_trial-10] epoch 1 of trial 1",
            "[sweep_trial-11] trial 0 begins", "[sweep_trial-11] epoch 1 of trial 0",
        ]  # fmt: skip

    def test_one_trial(self, client: maskline.Client, run_id: str) -> None:
        lines = ["[sweep_trial-11] trial 0 begins", "[sweep_trial-11] epoch 1 of trial 0"]
        assert list(client.logs(run_id, trial=0)) == lines
        with pytest.raises(ClusterError, match="has no pod of trial 2 in namespace team-a"):
            list(client.logs(run_id, trial=2))

    @pytest.fixture
    def artifacts(self, described: Any, run_id: str, kfp: KfpApi, kubernetes: KubernetesApi, tmp_path: Path,
                  cluster_file: Write) -> Path:  # fmt: skip
        """Where KFP keeps a run's artifacts; its pods are gone."""
        for kind, name in [key for key in kubernetes.objects if key[0] == "pods"]:
            del kubernetes.objects[kind, name]
        described["kubeflow"]["pipeline_root"] = f"file://{tmp_path}/artifacts"
        cluster_file()
        name = kfp.runs[run_id].pipeline_spec["pipeline_spec"]["pipelineInfo"]["name"]
        folder = tmp_path / "artifacts" / name / run_id
        for task, execution, text in (
            ("sweep-trial", "aaaa1111-22", "trial 1 begins\nepoch 1"),
            ("sweep-trial", "bbbb1111-22", "trial 0 begins\nepoch 2"),
            ("onnx-export", "cccc1111-22", "parity holds"),
        ):
            (folder / task / execution).mkdir(parents=True)
            (folder / task / execution / "executor-logs").write_text(text)
        return folder

    def test_pods_that_are_gone_left_their_logs_with_kfp(self, run_id, artifacts, cluster_file) -> None:
        client = maskline.Client(cluster_file())
        assert list(client.logs(run_id, trial=0)) == [
            "[sweep_trial-bbbb1111] trial 0 begins", "[sweep_trial-bbbb1111] epoch 2",
        ]  # fmt: skip
        assert list(client.logs(run_id, stage="onnx_export")) == ["[onnx_export-cccc1111] parity holds"]
        assert len(list(client.logs(run_id))) == 5
        with pytest.raises(ClusterError, match=r"no pod of trial 7 .* stays in .* trials/N/log.txt"):
            list(client.logs(run_id, trial=7))

    def test_a_trial_of_a_run_at_a_uri_left_its_log_there(
        self, described: Any, run_id, artifacts, cluster_file, tmp_path: Path
    ) -> None:
        described["run_root"] = f"file://{tmp_path}/runs"
        log = tmp_path / "runs" / run_id / "trials" / "7" / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text("epoch 1\n")
        client = maskline.Client(cluster_file())
        assert list(client.logs(run_id, trial=7)) == ["[trial-7] epoch 1"]

    def test_following_ends_with_the_run(self, client: maskline.Client, run_id: str) -> None:
        assert sorted(client.logs(run_id, follow=True)) == sorted(list(client.logs(run_id))[1:])


def test_downloads_come_from_object_stores(described: Any, cluster_file: Write, job: Job, kfp: KfpApi,
                                           tmp_path: Path) -> None:  # fmt: skip
    described["kubeflow"]["pipeline_root"] = f"file://{tmp_path}/artifacts"
    client = maskline.Client(cluster_file())
    run_id = submitted(client, job)
    assert kfp.runs[run_id].runtime_config.pipeline_root == f"file://{tmp_path}/artifacts"
    name = kfp.runs[run_id].pipeline_spec["pipeline_spec"]["pipelineInfo"]["name"]
    made = tmp_path / "artifacts" / name / run_id / "onnx-export" / "0815" / "onnx" / "model.onnx"
    made.parent.mkdir(parents=True)
    made.write_bytes(b"graph")
    (file,) = client.download(run_id, tmp_path / "results")
    assert file == tmp_path / "results/artifacts/onnx-export/onnx/model.onnx"
    assert file.read_bytes() == b"graph"
    with pytest.raises(JobError, match="is not empty"):
        client.download(run_id, tmp_path / "results")


def test_a_client_is_only_loaded_when_it_is_used() -> None:
    import subprocess
    import sys

    code = "import sys, maskline; assert 'maskline.pipelines.cluster.client' not in sys.modules\n"
    code += "maskline.Client\n"
    code += "print([m for m in ('kfp', 'kubernetes', 'kfp_server_api') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
