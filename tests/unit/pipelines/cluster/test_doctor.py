"""What the doctor says of a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standins.kfp_api import KfpApi
from standins.kubernetes_api import KubernetesApi, node
from standins.server import Answer, Server

import maskline
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.cluster import doctor as doctor_module
from maskline.pipelines.cluster.doctor import Doctor
from maskline.pipelines.cluster.registry import published

Write = Callable[[], Path]
Job = ImageInstanceSegmentationJob


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_module, "published", lambda image: True)


def findings(write: Write, job: Job | None = None) -> dict[str, tuple[str, str]]:
    """Outcome and text by check."""
    client = maskline.Client(write())
    found = list(Doctor(client.connection, job, client.placing).all())
    assert all(f.remedy for f in found if f.outcome != "pass")
    return {f.check if f.check != "right" else f.said: (f.outcome, f"{f.said}; {f.remedy}") for f in found}


def test_a_cluster_in_health(cluster_file: Write, job: Job) -> None:
    found = findings(cluster_file, job)
    assert {check: outcome for check, (outcome, _) in found.items()} == {
        "Kubeflow Pipelines": "pass",
        "namespace": "pass",
        "version": "pass",
        "resource types": "pass",
        "list pods in team-a": "pass",
        "get pods/log in team-a": "pass",
        "list events in team-a": "pass",
        "get persistentvolumeclaims in team-a": "pass",
        "get secrets in team-a": "pass",
        "compute azureml:gpu": "pass",
        "claim maskline-runs": "pass",
        "secret maskline-study": "pass",
        "image light": "pass",
        "image trainer": "pass",
        "data": "unknown",
        "study database": "pass",
    }


def test_nothing_is_changed(cluster_file: Write, job: Job, kfp: KfpApi, kubernetes: KubernetesApi) -> None:
    findings(cluster_file, job)
    assert kfp.made() == []
    reviews = {
        "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    }  # a question, which leaves nothing
    assert set(kubernetes.made()) == reviews


@pytest.mark.parametrize(
    ("tag", "outcome", "said"),
    [
        ("2.17.0", "pass", "Kubeflow Pipelines 2.17.0"),
        ("2.4.1", "fail", "2.4.1 is too old; upgrade to 2.15 or later"),
        ("", "unknown", "doesn't tell its version; look at the image tag of ml-pipeline"),
    ],
)
def test_the_version(tag: str, outcome: str, said: str, cluster_file: Write, kfp: KfpApi) -> None:
    kfp.version = tag
    found = findings(cluster_file)["version"]
    assert found[0] == outcome
    assert said in found[1]


def test_an_unreachable_api_ends_in_one_line(cluster_file: Write, kfp: KfpApi) -> None:
    kfp.token = "another"
    assert findings(cluster_file)["Kubeflow Pipelines"][0] == "fail"


SHARED = {"accessModes": ["ReadWriteMany"]}
SOFT = {"key": "x", "effect": "PreferNoSchedule"}
TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("nodes", "outcome", "said"),
    [
        ([], "unknown", "no node has its labels now; correct its node_selector, unless an autoscaler"),
        ([node("a", {"pool": "gpu"}, [TAINT])], "fail", "it has 0 nvidia.com/gpu, and 1 are asked for"),
        (
            [node("a", {"pool": "gpu"}, [{"key": "team", "effect": "NoExecute"}], **{"nvidia.com/gpu": "1"})],
            "fail", "node a: its taint team=:NoExecute is not tolerated",
        ),
        (
            [node("a", {"pool": "gpu"}, [], cpu="3500m", **{"nvidia.com/gpu": "1"})],
            "fail", "it has 3500m cpu, and 4 are asked for",
        ),
        (
            [node("a", {"pool": "gpu"}, [SOFT], **{"nvidia.com/gpu": "8"})],
            "pass", "nodes that can take a trial (1 nvidia.com/gpu): 1",
        ),
    ],
)  # fmt: skip
def test_nodes(nodes: Any, outcome: str, said: str, cluster_file: Write, kubernetes: KubernetesApi) -> None:
    kubernetes.nodes = nodes
    found = findings(cluster_file)["compute gpu"]
    assert found[0] == outcome
    assert said in found[1]


@pytest.mark.parametrize(
    ("claim", "outcome", "said"),
    [
        (None, "fail", "is not in team-a; make it"),
        ({"spec": {"accessModes": ["ReadWriteOnce"]}, "status": {"phase": "Bound"}}, "unknown", "use Read"),
        ({"spec": SHARED, "status": {"phase": "Lost"}}, "fail", "has lost its"),
        (
            {"spec": {**SHARED, "storageClassName": "late"}, "status": {"phase": "Pending"}},
            "pass", "Pending, ReadWriteMany",
        ),
        (
            {"spec": {**SHARED, "storageClassName": "gone"}, "status": {"phase": "Pending"}},
            "fail", "is not bound to a volume; look at its events",
        ),
    ],
)  # fmt: skip
def test_claims(claim: Any, outcome: str, said: str, cluster_file: Write, kubernetes: KubernetesApi) -> None:
    kubernetes.put("storageclasses", "late", provisioner="p", volumeBindingMode="WaitForFirstConsumer")
    del kubernetes.objects["persistentvolumeclaims", "maskline-runs"]
    if claim:
        kubernetes.put("persistentvolumeclaims", "maskline-runs", **claim)
    found = findings(cluster_file)["claim maskline-runs"]
    assert found[0] == outcome
    assert said in found[1]


def test_a_user_with_few_rights_is_told_what_is_unknown(
    cluster_file: Write, kubernetes: KubernetesApi
) -> None:
    kubernetes.denied = {"secrets", "nodes", "pods/log", "events"}
    found = findings(cluster_file)
    assert found["you may not get pods/log in team-a"][0] == "fail"
    assert found["you may not list events in team-a"][0] == "unknown"
    assert found["nodes"][0] == found["secrets"][0] == found["study database"][0] == "unknown"
    assert "ask for the role maskline-user" in found["nodes"][1]


def test_kueue_must_be_there_where_a_compute_has_a_queue(
    described: Any, cluster_file: Write, kubernetes: KubernetesApi
) -> None:
    described["computes"]["gpu"]["queue"] = "vision"
    assert findings(cluster_file)["resource types"][1].startswith("kueue.x-k8s.io is not installed")
    kubernetes.groups.append("kueue.x-k8s.io")
    assert findings(cluster_file)["resource types"][0] == "pass"


def test_the_database(cluster_file: Write, kubernetes: KubernetesApi) -> None:
    kubernetes.put("endpoints", "studies", subsets=[])
    assert findings(cluster_file)["study database"] == (
        "fail",
        "service studies has 0 ready pods; look at the pods of studies, and at the space of its volume",
    )
    kubernetes.put("secrets", "maskline-study", data={"url": "c3RhcnQ="})
    assert findings(cluster_file)["study database"][1].startswith("key url of maskline-study is no address")


def test_no_secret_is_ever_told(cluster_file: Write, job: Job) -> None:
    assert "u:p@" not in str(findings(cluster_file, job))


def test_images_on_nodes_need_no_registry(
    cluster_file: Write, kubernetes: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor_module, "published", lambda image: None if "light" in image else False)
    tag = maskline.__version__
    found = findings(cluster_file)
    assert found["image trainer"][0] == "fail"
    assert found["image light"][0] == "unknown"
    images = [{"names": [f"ghcr.io/maskline/maskline-{name}:{tag}"]} for name in ("light", "trainer")]
    kubernetes.nodes[0]["status"]["images"] = images
    found = findings(cluster_file)
    assert found["image light"][0] == found["image trainer"][0] == "pass"


def test_data_in_an_object_store(cluster_file: Write, job: Job, tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "MLTable").write_text("")
    job.training_data = maskline.Input(type="mltable", path=f"file://{tmp_path}/train")
    assert findings(cluster_file, job)["data"][0] == "pass"
    job.training_data = maskline.Input(type="mltable", path=f"file://{tmp_path}/none")
    assert findings(cluster_file, job)["data"][0] == "fail"


def test_run_directories_in_an_object_store(described: Any, cluster_file: Write, tmp_path: Path) -> None:
    described["run_root"] = f"file://{tmp_path}/none"
    outcome, said = findings(cluster_file)["run_root"]
    assert outcome == "pass"
    assert said.startswith(f"the store of file://{tmp_path}/none answers from here")
    described["run_root"] = "nosuch://bucket/runs"
    outcome, said = findings(cluster_file)["run_root"]
    assert outcome == "unknown"
    assert "can't be read from here" in said


class TestRegistry:
    """A registry's own protocol."""

    @pytest.fixture
    def registry_server(self) -> Any:
        server = Server()
        realm = f'Bearer realm="{server.url}/token",service="r",scope="repository:m/light:pull"'

        def manifest(request: Any, tag: str) -> Answer:
            if request.headers.get("Authorization") != "Bearer anonymous":
                return Answer({}, 401, headers={"WWW-Authenticate": realm})
            return Answer({}, 200 if tag == "1.0" else 404)

        server.routes = [
            ("HEAD /v2/m/light/manifests/(.+)", manifest),
            ("GET /token", lambda request: Answer({"token": "anonymous"})),
            ("HEAD /v2/m/private/manifests/(.+)", lambda request, tag: Answer({}, 401)),
        ]
        yield server
        server.stop()

    def test_what_it_knows(self, registry_server: Any) -> None:
        host = registry_server.url.removeprefix("http://")
        assert published(f"{host}/m/light:1.0") is True
        assert published(f"{host}/m/light:1.1") is False
        assert published(f"{host}/m/private:1.0") is None
        registry_server.stop()
        assert published(f"{host}/m/light:1.0") is None
