"""What the manifests must keep, checked without a cluster."""

import re
import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from maskline.pipelines.cluster_file import RUN_VOLUME, read_cluster
from maskline.stages import NAMES

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
OVERLAYS = ("overlays/gpu", "overlays/kind", "overlays/object-store")
KUBERNETES = "1.36.0"
"""Whose schemas every object must meet, without a field that they don't know."""
Objects = dict[tuple[str, str], dict[str, Any]]


def read(path: Path) -> list[Any]:
    """The documents of a YAML file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))


def kustomization(folder: str) -> dict[str, Any]:
    """The kustomization of a folder."""
    (found,) = read(MANIFESTS / folder / "kustomization.yaml")
    return dict(found)


def folders() -> list[str]:
    """Every folder that `kubectl apply --kustomize` takes."""
    return [str(path.parent.relative_to(MANIFESTS)) for path in sorted(MANIFESTS.rglob("kustomization.yaml"))]


def plain_files() -> list[Path]:
    """Every file with objects of Kubernetes'; KServe's own kind has no schema there."""
    others = {"kustomization.yaml", "cluster.yaml", "inference_service.yaml"}
    return [path for path in sorted(MANIFESTS.rglob("*.yaml")) if path.name not in others]


def by_name(objects: list[Any]) -> Objects:
    """Objects by kind and name."""
    return {(item["kind"], item["metadata"]["name"]): item for item in objects}


def base() -> Objects:
    """The objects of the base."""
    return by_name(
        [item for name in kustomization("base")["resources"] for item in read(MANIFESTS / "base" / name)]
    )


def pods(objects: Objects) -> list[Any]:
    """Pod templates, and the reader, which is a pod of its own."""
    (reader,) = read(MANIFESTS / "reader.yaml")
    templates = [item["spec"]["template"] for item in objects.values() if "template" in item.get("spec", {})]
    return [*templates, reader]


@pytest.fixture(scope="module")
def rendered() -> dict[str, Objects]:
    """The objects of every folder as kubectl renders them."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    found = {}
    for folder in folders():
        command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[folder] = by_name(list(yaml.safe_load_all(text)))
    return found


def test_every_file_is_listed_and_every_overlay_known() -> None:
    for folder in ("base", "namespace"):
        files = {path.name for path in (MANIFESTS / folder).iterdir()} - {"kustomization.yaml"}
        assert files == set(kustomization(folder)["resources"])
    assert set(folders()) == {"base", "namespace", "serving", "kserve", *OVERLAYS}


@pytest.mark.parametrize("path", plain_files(), ids=lambda path: str(path.relative_to(MANIFESTS)))
def test_kubernetes_knows_every_field(path: Path) -> None:
    for item in read(path):
        validate(item, KUBERNETES, strict=True)


def test_an_unknown_field_would_be_noticed() -> None:
    claim = base()["PersistentVolumeClaim", RUN_VOLUME]
    claim["spec"]["storageClass"] = "nfs"
    with pytest.raises(ValidationError, match="storageClass"):
        validate(claim, KUBERNETES, strict=True)


def test_overlays_render_and_are_known_too(rendered: dict[str, Objects]) -> None:
    for folder in folders():
        assert rendered[folder]
        for (kind, _), item in rendered[folder].items():
            if kind != "InferenceService":  # KServe's own
                validate(item, KUBERNETES, strict=True)


def test_what_overlays_change(rendered: dict[str, Objects]) -> None:
    claim = ("PersistentVolumeClaim", RUN_VOLUME)
    specs = {folder: objects[claim]["spec"] for folder, objects in rendered.items() if claim in objects}
    sizes = {folder: spec["resources"]["requests"]["storage"] for folder, spec in specs.items()}
    assert sizes == {"base": "50Gi", "overlays/gpu": "500Gi", "overlays/kind": "2Gi"}
    assert specs["base"]["accessModes"] == specs["overlays/gpu"]["accessModes"] == ["ReadWriteMany"]
    assert specs["overlays/kind"]["accessModes"] == ["ReadWriteOnce"]
    assert [folder for folder, spec in specs.items() if "storageClassName" in spec] == ["overlays/gpu"]
    quota = ("ResourceQuota", "maskline")
    assert rendered["overlays/kind"][quota]["spec"]["hard"]["requests.nvidia.com/gpu"] == "0"


def test_no_namespace_is_named_but_where_one_is_made() -> None:
    for folder in ("base", *OVERLAYS):
        assert "namespace" not in kustomization(folder)
    assert all("namespace" not in item["metadata"] for item in base().values())
    assert all("namespace" not in subject for item in base().values() for subject in item.get("subjects", ()))


class TestRestricted:
    """Pod Security "restricted", and what it doesn't ask for."""

    def test_pods(self) -> None:
        found = pods(base())
        assert len(found) == 3
        for pod in found:
            spec = pod["spec"]
            assert spec["automountServiceAccountToken"] is False
            assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
            context = spec["securityContext"]
            assert context["runAsNonRoot"] is True
            assert context["runAsUser"] > 0
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert all(set(volume) & {"emptyDir", "persistentVolumeClaim"} for volume in spec["volumes"])

    def test_containers(self) -> None:
        for pod in pods(base()):
            assert "initContainers" not in pod["spec"]
            for container in pod["spec"]["containers"]:
                context = container["securityContext"]
                assert context["allowPrivilegeEscalation"] is False
                assert context["readOnlyRootFilesystem"] is True
                assert context["capabilities"] == {"drop": ["ALL"]}
                assert container["resources"]["limits"]["memory"]
                assert re.search(r":v?\d+\.\d+", container["image"])
                assert not any("hostPort" in port for port in container.get("ports", ()))
                if "ports" in container:
                    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)

    def test_the_reader_only_reads_and_goes_by_itself(self) -> None:
        reader = pods(base())[-1]
        (container,) = reader["spec"]["containers"]
        assert container["image"].endswith(f":{version('maskline')}")
        assert all(mount["readOnly"] for mount in container["volumeMounts"])
        assert reader["spec"]["activeDeadlineSeconds"] <= 3600

    def test_the_namespace_tells_what_is_not(self) -> None:
        (made,) = read(MANIFESTS / "namespace/namespace.yaml")
        labels = made["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/warn"] == "restricted"


def test_no_secret_is_held() -> None:
    assert not [item for path in plain_files() for item in read(path) if item["kind"] == "Secret"]
    text = "".join(path.read_text() for path in plain_files())
    assert not re.search(r"postgresql://|password: [^{]|value: .*secret", text)


def test_rights_are_few() -> None:
    rules = [
        (name, rule) for (kind, name), item in base().items() if kind == "Role" for rule in item["rules"]
    ]
    assert {kind for kind, _ in base() if kind.startswith("Cluster")} == set()
    for name, rule in rules:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], name
        if "secrets" in rule["resources"]:
            assert rule["verbs"] == ["get"]
            assert rule["resourceNames"], name
    bound = {item["roleRef"]["name"] for (kind, _), item in base().items() if kind == "RoleBinding"}
    assert bound == {"maskline-user", "maskline-runs"}


def test_kfps_launcher_may_read_the_stores_credentials(rendered: dict[str, Objects]) -> None:
    rules = rendered["overlays/object-store"]["Role", "maskline-runs"]["rules"]
    named = [rule["resourceNames"] for rule in rules if "secrets" in rule["resources"]]
    assert named == [["mlpipeline-minio-artifact"], ["object-store"]]
    assert all(rule["verbs"] == ["get"] for rule in rules if "secrets" in rule["resources"])


def selected(policy: Any, labels: dict[str, str]) -> bool:
    """Whether a pod selector means a pod."""
    wanted, expressions = policy.get("matchLabels", {}), policy.get("matchExpressions", ())
    return all(labels.get(k) == v for k, v in wanted.items()) and all(
        labels.get(e["key"]) in e["values"] for e in expressions
    )


def test_every_pod_of_ours_has_a_policy_and_no_other_has() -> None:
    policies = [item["spec"] for (kind, _), item in base().items() if kind == "NetworkPolicy"]
    ours = {"app.kubernetes.io/name": "maskline"}
    stages = [{**ours, "app.kubernetes.io/component": stage} for stage in NAMES]
    for labels in [*stages, *(pod["metadata"]["labels"] for pod in pods(base()))]:
        assert sum(selected(policy["podSelector"], labels) for policy in policies) == 1, labels
    assert not any(selected(policy["podSelector"], {"app": "ml-pipeline"}) for policy in policies)


def test_the_database_is_reached_by_those_who_use_it() -> None:
    (rule,) = base()["NetworkPolicy", "maskline-postgres"]["spec"]["ingress"]
    (peer,) = rule["from"]
    ours = {"app.kubernetes.io/name": "maskline"}
    parts = [*NAMES, "dashboard"]
    allowed = {p for p in parts if selected(peer["podSelector"], {**ours, "app.kubernetes.io/component": p})}
    assert allowed == {"sweep_trial", "trial_selection", "dashboard"}


def test_services_find_their_pods() -> None:
    objects = base()
    for (kind, name), item in objects.items():
        if kind == "Service":
            (pod,) = [
                p
                for p in pods(objects)
                if selected({"matchLabels": item["spec"]["selector"]}, p["metadata"]["labels"])
            ]
            names = {port["name"] for c in pod["spec"]["containers"] for port in c["ports"]}
            assert {port["targetPort"] for port in item["spec"]["ports"]} <= names, name


@pytest.mark.parametrize("folder", OVERLAYS)
def test_the_cluster_file_beside_an_overlay_names_what_the_overlay_makes(
    folder: str, rendered: dict[str, Objects]
) -> None:
    cluster, objects = read_cluster(MANIFESTS / folder / "cluster.yaml"), rendered[folder]
    for volume in cluster.volumes:
        assert ("PersistentVolumeClaim", volume.claim) in objects
    if cluster.service_account:
        assert ("ServiceAccount", cluster.service_account) in objects
    readme = (MANIFESTS / "README.md").read_text(encoding="utf-8")
    wanted = {secret.name: set(secret.env.values()) for secret in cluster.secrets}
    assert cluster.study is not None
    wanted[cluster.study.secret] = {cluster.study.key, "user", "password"}
    for name, keys in wanted.items():
        (command,) = re.findall(rf"create secret generic {name} (.*?)\n```", readme, re.DOTALL)
        assert keys == set(re.findall(r"--from-literal=([\w-]+)=", command))
