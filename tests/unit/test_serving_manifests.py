"""What the manifests of the server must keep: fields that exist, Pod Security, the server's own paths."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from maskline import images

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
KSERVE_ONLY = ("minReplicas", "maxReplicas", "containerConcurrency")
"""Fields of a predictor that a pod has not: https://kserve.github.io/website/latest/reference/api."""


def read(name: str) -> Any:
    return yaml.safe_load((MANIFESTS / name).read_text(encoding="utf-8"))


def understood(described: dict[str, Any], kind: str) -> dict[str, Any]:
    """An object after a trip through the Kubernetes client's models, which drop unknown fields."""
    client = ApiClient()
    model = client.deserialize(SimpleNamespace(data=json.dumps(described)), kind)
    return client.sanitize_for_serialization(model)


def pods() -> dict[str, dict[str, Any]]:
    """The two descriptions of a server's pod."""
    predictor = read("kserve/inference_service.yaml")["spec"]["predictor"]
    return {
        "serving": read("serving/deployment.yaml")["spec"]["template"]["spec"],
        "kserve": {key: value for key, value in predictor.items() if key not in KSERVE_ONLY},
    }


def test_every_file_is_listed() -> None:
    for folder in ("serving", "kserve"):
        listed = set(read(f"{folder}/kustomization.yaml")["resources"])
        assert {path.name for path in (MANIFESTS / folder).iterdir()} == listed | {"kustomization.yaml"}


def test_kubernetes_knows_every_field() -> None:
    for name, kind in (
        ("deployment", "V1Deployment"),
        ("service", "V1Service"),
        ("network", "V1NetworkPolicy"),
    ):
        described = read(f"serving/{name}.yaml")
        assert understood(described, kind) == described
    for pod in pods().values():
        assert understood(pod, "V1PodSpec") == pod
    assert read("kserve/inference_service.yaml")["apiVersion"] == "serving.kserve.io/v1beta1"


@pytest.mark.parametrize("name", ["serving", "kserve"])
def test_pod_security_restricted(name: str) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards."""
    pod = pods()[name]
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert all({"persistentVolumeClaim", "emptyDir"} & set(volume) for volume in pod["volumes"])
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert not any("hostPort" in port for port in container["ports"])
        assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", ["serving", "kserve"])
def test_the_image_and_the_probes_are_the_server_s(name: str, onnx_file: Path) -> None:
    from maskline.onnx_model import OnnxModel
    from maskline.serving import build_app

    (container,) = pods()[name]["containers"]
    assert container["image"] == images.SERVER
    served = {route.path for route in build_app(OnnxModel(onnx_file, threads=1)).routes}  # type: ignore[attr-defined]
    probes = [probe["httpGet"]["path"] for key, probe in container.items() if key.endswith("Probe")]
    assert len(probes) >= 2
    assert set(probes) <= served


def test_a_replica_is_out_of_the_endpoints_before_it_ends() -> None:
    from maskline.serving.run import GRACE_SECONDS

    pod = pods()["serving"]
    (container,) = pod["containers"]
    waits = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > waits + GRACE_SECONDS


def test_selectors_find_the_pods() -> None:
    deployment, service = read("serving/deployment.yaml"), read("serving/service.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()
    assert service["spec"]["ports"][0]["targetPort"] == "http"


def test_the_server_answers_the_namespace_and_calls_nobody() -> None:
    policy, pod = read("serving/network.yaml")["spec"], read("serving/deployment.yaml")["spec"]["template"]
    assert policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    (rule,) = policy["ingress"]
    assert [port["port"] for port in rule["ports"]] == [port["name"] for port in container["ports"]]
    assert {"podSelector": {}} in rule["from"]
    assert (policy["policyTypes"], policy["egress"]) == (["Ingress", "Egress"], [])


def test_they_render() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    for folder in ("serving", "kserve"):
        command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "my-run/best_model" in text
