"""What the manifests must keep, checked without a cluster."""

import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient

from maskline.pipelines import cluster_file

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
OVERLAYS = ("overlays/gpu", "overlays/kind")
KINDS = {"PersistentVolumeClaim": "V1PersistentVolumeClaim", "ServiceAccount": "V1ServiceAccount"}


def read(path: Path) -> Any:
    """One YAML document."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def kustomization(folder: str) -> dict[str, Any]:
    """The kustomization of a folder."""
    return read(MANIFESTS / folder / "kustomization.yaml")


def resources() -> dict[str, dict[str, Any]]:
    """The objects of the base, by kind."""
    objects = [read(MANIFESTS / "base" / name) for name in kustomization("base")["resources"]]
    return {found["kind"]: found for found in objects}


def understood(described: dict[str, Any]) -> dict[str, Any]:
    """An object after a trip through the Kubernetes client's models, which drop unknown fields."""
    client = ApiClient()
    model = client.deserialize(SimpleNamespace(data=json.dumps(described)), KINDS[described["kind"]])
    return client.sanitize_for_serialization(model)


@pytest.fixture(scope="module")
def rendered() -> dict[str, dict[str, dict[str, Any]]]:
    """The objects of base and overlays as kubectl renders them: folder -> kind -> object."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    found = {}
    for folder in ("base", *OVERLAYS):
        command = ["kubectl", "kustomize", str(MANIFESTS / folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[folder] = {item["kind"]: item for item in yaml.safe_load_all(text)}
    return found


def test_every_file_is_listed_and_every_overlay_known() -> None:
    files = {path.name for path in (MANIFESTS / "base").iterdir()} - {"kustomization.yaml"}
    assert files == set(kustomization("base")["resources"])
    folders = {str(path.parent.relative_to(MANIFESTS)) for path in MANIFESTS.rglob("kustomization.yaml")}
    assert folders == {"base", *OVERLAYS}


def test_the_volume_is_the_one_that_pipelines_mount() -> None:
    claim = resources()["PersistentVolumeClaim"]
    assert claim["metadata"]["name"] == cluster_file.RUN_VOLUME
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]


def test_no_namespace_and_no_rights_are_given() -> None:
    assert set(resources()) == set(KINDS)
    for folder in ("base", *OVERLAYS):
        assert "namespace" not in kustomization(folder)
    for found in resources().values():
        assert "namespace" not in found["metadata"]
    assert resources()["ServiceAccount"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize("folder", OVERLAYS)
def test_overlays_change_what_is_there(folder: str) -> None:
    overlay = kustomization(folder)
    assert overlay["resources"] == ["../../base"]
    for patch in overlay["patches"]:
        target = resources()[patch["target"]["kind"]]
        assert target["metadata"]["name"] == patch["target"]["name"]


def test_kubernetes_knows_every_field() -> None:
    for found in resources().values():
        assert understood(found) == found


def test_an_unknown_field_would_be_noticed() -> None:
    claim = resources()["PersistentVolumeClaim"]
    claim["spec"]["storageClass"] = "nfs"
    assert understood(claim) != claim


def test_overlays_render(rendered: dict[str, dict[str, dict[str, Any]]]) -> None:
    claims = {folder: found["PersistentVolumeClaim"]["spec"] for folder, found in rendered.items()}
    sizes = {folder: claim["resources"]["requests"]["storage"] for folder, claim in claims.items()}
    assert sizes == {"base": "50Gi", "overlays/gpu": "500Gi", "overlays/kind": "2Gi"}
    assert claims["overlays/kind"]["accessModes"] == ["ReadWriteOnce"]
    assert claims["overlays/gpu"]["accessModes"] == ["ReadWriteMany"]
    assert [folder for folder, claim in claims.items() if "storageClassName" in claim] == ["overlays/gpu"]


def test_what_is_rendered_is_understood_and_keeps_its_names(
    rendered: dict[str, dict[str, dict[str, Any]]],
) -> None:
    for found in rendered.values():
        assert set(found) == set(KINDS)
        assert found["PersistentVolumeClaim"]["metadata"]["name"] == cluster_file.RUN_VOLUME
        for described in found.values():
            assert understood(described) == described
