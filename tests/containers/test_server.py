"""The server's image, built and run as a cluster runs it, and asked over HTTP."""

import json
import os
import socket
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest
from containers.engine import answers, docker

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
TAG = "maskline-server:under-test"
# As manifests/serving has it; the host's network, since not every engine has a bridge.
RESTRICTED = [
    "--read-only", "--network=host", "--cap-drop=ALL", "--security-opt=no-new-privileges",
    "--tmpfs=/tmp:mode=1777,size=64m", "--memory=4g",
]  # fmt: skip


@pytest.fixture(scope="module")
def image(arguments: list[str]) -> str:
    """The image, by its tag; it stays for the cache of the next run."""
    dockerfile = str(ROOT / "images/server/Dockerfile")
    docker("build", *arguments, "--file", dockerfile, "--tag", TAG, str(ROOT))
    return TAG


@pytest.fixture(scope="module")
def server(image: str, onnx_file: Path) -> Iterator[tuple[str, httpx.Client]]:
    """The id of a container that is ready, and a client of it."""
    for folder in (onnx_file.parent, *onnx_file.parent.parents[:2]):
        os.chmod(folder, 0o755)  # pytest's folders are for its own user; a volume is read by the server's
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = [f"--env=MASKLINE_SERVE_PORT={port}", f"--volume={onnx_file.parent}:/model:ro"]
    name = docker("run", "--detach", *RESTRICTED, *told, image).strip()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
            _wait(name, client)
            yield name, client
    finally:
        docker("rm", "--force", name)


def _wait(name: str, client: httpx.Client) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if client.get("/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            running = docker("inspect", "--format", "{{.State.Running}}", name).strip()
            assert running == "true", docker("logs", name)
        time.sleep(0.1)
    raise AssertionError("the server isn't ready after 60 s")


def test_it_answers_both_protocols(
    server: tuple[str, httpx.Client], onnx_file: Path, drawn_pictures: list[Path]
) -> None:
    from maskline.inference import predict

    _, client = server
    assert client.get("/v2").json() == {"name": "maskline", "version": version("maskline"), "extensions": []}
    found = 0
    for file, own in zip(drawn_pictures, predict(onnx_file, drawn_pictures), strict=True):
        response = client.post("/score", content=file.read_bytes(), headers={"content-type": "image/png"})
        assert response.status_code == 200, response.text
        assert own.detections is not None
        assert [box["label"] for box in response.json()[0]["boxes"]] == own.detections.names
        found += len(own.detections)
    assert found > 0
    pixels = {"name": "image", "datatype": "UINT8", "shape": [1, 1, 3], "data": [1, 2, 3]}
    infer = client.post("/v2/models/maskline/infer", json={"inputs": [pixels]})
    assert [one["name"] for one in infer.json()["outputs"]][:4] == ["boxes", "labels", "scores", "masks"]
    assert client.post("/score", content=b"{").status_code == 400
    assert 'maskline_requests_total{code="400",route="score"} 1.0' in client.get("/metrics").text


def test_it_is_a_user_without_rights(server: tuple[str, httpx.Client]) -> None:
    name, _ = server
    assert docker("exec", name, "id", "-u").strip() == "10001"
    assert not answers("exec", name, "touch", "/opt/maskline/here")
    assert not answers("exec", name, "touch", "/model/here")
    assert answers("exec", name, "touch", "/tmp/here")


def test_it_carries_no_more_than_it_needs(server: tuple[str, httpx.Client], image: str) -> None:
    name, _ = server
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert config["Labels"]["org.opencontainers.image.version"] == version("maskline")
    assert not [line for line in config["Env"] if line.startswith("PIP_") or "CA_BUNDLE" in line]
    for module in ("torch", "kfp", "optuna", "onnx", "kubernetes"):
        assert not answers("exec", name, "python", "-c", f"import {module}"), module


def test_it_ends_when_it_is_told_to(server: tuple[str, httpx.Client]) -> None:
    """By SIGTERM as process 1, not by the kill that follows; the last test, since nothing runs after it."""
    name, _ = server
    docker("stop", "--time", "60", name)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
