"""A cluster of stand-ins, a cluster file that leads to it, and a job for it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from standins.kfp_api import KfpApi
from standins.kubernetes_api import KubernetesApi, node

from maskline import Input, automl
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.cluster import client as cluster_module
from maskline.pipelines.cluster import pods as pods_module

TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


@pytest.fixture
def kfp() -> Iterator[KfpApi]:
    """Kubeflow Pipelines."""
    server = KfpApi()
    yield server
    server.stop()


@pytest.fixture
def kubernetes(kfp: KfpApi) -> Iterator[KubernetesApi]:
    """Kubernetes, with all that the cluster file names."""
    server = KubernetesApi(kfp)
    claim = {"spec": {"accessModes": ["ReadWriteMany"]}, "status": {"phase": "Bound"}}
    server.put("persistentvolumeclaims", "maskline-runs", **claim)
    server.put("secrets", "maskline-study", data={"url": "cG9zdGdyZXNxbDovL3U6cEBzdHVkaWVzL2Ri"})
    server.put("endpoints", "studies", subsets=[{"addresses": [{"ip": "10.0.0.1"}]}])
    server.nodes = [node("node-1", {"pool": "gpu"}, [TAINT], **{"nvidia.com/gpu": "4"}), node("cpu-1")]
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def surroundings(kubernetes: KubernetesApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials of a user, nothing of this machine's, and no waiting."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
        "clusters": [{"name": "here", "cluster": {"server": kubernetes.url}}],
        "users": [{"name": "me", "user": {"token": "k8s"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MASKLINE_KFP_TOKEN", "good")
    for name in ("KF_PIPELINES_ENDPOINT", "MASKLINE_KFP_COOKIE", "MASKLINE_CLUSTER", "MASKLINE_STUDY_URL",
                 "KUBERNETES_SERVICE_HOST"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cluster_module, "FASTEST", 0.01)
    monkeypatch.setattr(pods_module, "LOOK_SECONDS", 0.05)


@pytest.fixture
def described(kfp: KfpApi) -> dict[str, Any]:
    """A cluster file as plain data; tests change it before they write it."""
    return {
        "kubeflow": {"host": kfp.url, "namespace": "team-a"},
        "study": {"secret": "maskline-study"},
        "computes": {
            "gpu": {
                "accelerator": "nvidia.com/gpu",
                "node_selector": {"pool": "gpu"},
                "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
            }
        },
    }


@pytest.fixture
def cluster_file(described: dict[str, Any], tmp_path: Path) -> Callable[[], Path]:
    """Writes the cluster file."""

    def write() -> Path:
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump(described))
        return path

    return write


@pytest.fixture
def job() -> ImageInstanceSegmentationJob:
    """A job whose data are on a volume."""
    made = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="/maskline/runs/data/train"),
        target_column_name="label",
        experiment_name="nuts",
        compute="azureml:gpu",
    )
    made.set_limits(max_trials=1)
    return made


@pytest.fixture
def job_file(job: ImageInstanceSegmentationJob, tmp_path: Path) -> Path:
    """The job's file."""
    job.dump(tmp_path / "job.yaml")
    return tmp_path / "job.yaml"
