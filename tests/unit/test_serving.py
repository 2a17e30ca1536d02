"""A real server on this machine, asked by real clients: both protocols, what is refused, many at a time."""

import asyncio
import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies
from PIL import Image

from maskline import answers, rle
from maskline.inference import predict
from maskline.onnx_model import OnnxModel
from maskline.serving.limits import Refused, ServingLimits
from maskline.serving.requests import Asked, answer
from maskline.tile_answers import tiled
from maskline.tiling import Tiling

BROKEN = (
    "truncated.jpg", "truncated.png", "bad_crc.png", "empty.jpg", "html_as.jpg",
    "huge_header_60000x60000.png", "bomb_12000x12000.png",
)  # fmt: skip


class Server:
    """A process that serves a model, and its address."""

    def __init__(self, model: Path, **options: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        environment = {f"MASKLINE_SERVE_{key.upper()}": str(value) for key, value in options.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "maskline.pipelines.cli", "serve", str(model), "--port", str(self.port)],
            env={**os.environ, **environment},
            stderr=subprocess.PIPE,
        )
        self.url = f"http://127.0.0.1:{self.port}"
        deadline = time.monotonic() + 60
        while True:
            try:
                if httpx.get(f"{self.url}/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, (self.process.stderr or sys.stdin).read()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def memory(self) -> int:
        """Bytes that the process holds."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024  # type: ignore[index]

    def end(self) -> int:
        """Its exit code after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            if self.process.stderr:
                self.process.stderr.close()


@pytest.fixture(scope="module")
def server(onnx_file: Path) -> Iterator[Server]:
    found = Server(onnx_file, max_pixels=5_000_000, max_body_bytes=4 << 20, max_pictures=8)
    yield found
    assert found.end() in (0, -signal.SIGTERM)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as found:
        yield found


def asked(*files: bytes, **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(file).decode() for file in files]
    return {"input_data": {"columns": ["image"], "data": data}, **more}


def tensor(kind: str, shape: list[int], data: object, **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "image", "datatype": kind, "shape": shape, "data": data}], **more}


def test_azures_request_gets_azures_response(
    client: httpx.Client, onnx_file: Path, drawn_pictures: list[Path]
) -> None:
    response = client.post("/score", json=asked(*[file.read_bytes() for file in drawn_pictures]))
    assert response.status_code == 200
    expected = [
        answers.azure(one.detections)
        for one in predict(onnx_file, drawn_pictures)
        if one.detections is not None
    ]
    for got, wanted in zip(response.json(), expected, strict=True):
        assert [box["label"] for box in got["boxes"]] == [box["label"] for box in wanted["boxes"]]
        assert [set(box) for box in got["boxes"]] == [set(box) for box in wanted["boxes"]]
        np.testing.assert_allclose(
            [box["score"] for box in got["boxes"]], [box["score"] for box in wanted["boxes"]], atol=1e-5
        )
    assert sum(len(one["boxes"]) for one in response.json()) > 0
    raw = client.post("/score", content=drawn_pictures[3].read_bytes(), headers={"content-type": "image/png"})
    assert raw.json() == response.json()[3:]
    few = client.post("/score", json=asked(drawn_pictures[3].read_bytes(), params={"max_detections": 1}))
    assert len(few.json()[0]["boxes"]) == 1
    assert client.post("/score", json=asked()).json() == []


def test_protocol_v2_is_spoken(client: httpx.Client, onnx_file: Path, drawn_pictures: list[Path]) -> None:
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2").json()["name"] == "maskline"
    told = client.get("/v2/models/maskline").json()
    assert client.get("/v2/models/maskline/ready").json() == {"name": "maskline", "ready": True}
    (image,) = told["inputs"]
    assert (image["name"], image["datatype"], image["shape"]) == ("image", "BYTES", [-1])
    assert "also UINT8 [-1, -1, 3]" in told["parameters"]["image"]
    picture = np.asarray(Image.open(drawn_pictures[3]))
    file = base64.b64encode(drawn_pictures[3].read_bytes()).decode()
    path = f"/v2/models/maskline/versions/{told['versions'][0]}/infer"
    as_files = client.post(path, json=tensor("BYTES", [2], [file, file], id="seven"))
    assert as_files.status_code == 200, as_files.text
    data = as_files.json()
    assert (data["id"], data["model_name"]) == ("seven", "maskline")
    outputs = {one["name"]: one for one in data["outputs"]}
    assert list(outputs) == [one["name"] for one in told["outputs"]]
    (expected,) = predict(onnx_file, drawn_pictures[3])
    assert expected.detections is not None
    count = len(expected.detections)
    assert count > 0
    assert outputs["boxes"]["shape"] == [2 * count, 4]
    assert outputs["image_index"]["data"] == [0] * count + [1] * count
    boxes = np.array(outputs["boxes"]["data"]).reshape(-1, 4)
    np.testing.assert_allclose(boxes[:count], expected.detections.boxes, atol=1e-3)
    first = rle.decode(json.loads(outputs["masks"]["data"][0]))
    assert (first != expected.detections.mask(0)).sum() <= 2
    as_pixels = client.post(
        "/v2/models/maskline/infer",
        json=tensor("UINT8", list(picture.shape), picture.ravel().tolist(), outputs=[{"name": "scores"}]),
    )
    (scores,) = as_pixels.json()["outputs"]
    np.testing.assert_allclose(scores["data"], expected.detections.scores, atol=1e-5)


def test_a_model_with_a_grid_is_served_with_its_tiles(tiled_file: Path, drawn_pictures: list[Path]) -> None:
    model, file = OnnxModel(tiled_file, threads=1), drawn_pictures[3]
    pixels = np.asarray(Image.open(file))
    expected = tiled(model.whole, pixels, Tiling(2, 1, 0.1), most=20)
    assert expected.scores.tolist() != model.whole(pixels).scores.tolist()
    data = base64.b64encode(file.read_bytes()).decode()
    server = Server(tiled_file)
    try:
        with httpx.Client(base_url=server.url, timeout=60) as client:
            score = client.post("/score", json=asked(file.read_bytes())).json()
            few = client.post("/score", json=asked(file.read_bytes(), params={"max_detections": 1})).json()
            infer = client.post("/v2/models/maskline/infer", json=tensor("BYTES", [1], [data])).json()
    finally:
        server.end()
    assert [box["label"] for box in score[0]["boxes"]] == expected.names
    np.testing.assert_allclose([box["score"] for box in score[0]["boxes"]], expected.scores, atol=1e-5)
    assert len(few[0]["boxes"]) == 1
    outputs = {one["name"]: one["data"] for one in infer["outputs"]}
    np.testing.assert_allclose(np.reshape(outputs["boxes"], (-1, 4)), expected.boxes, atol=1e-3)
    assert [json.loads(mask)["size"] for mask in outputs["masks"]] == [[240, 320]] * len(expected)
    assert all(
        (rle.decode(json.loads(mask)) != expected.mask(place)).sum() <= 2
        for place, mask in enumerate(outputs["masks"])
    )


def test_what_it_cannot_take_is_refused_with_the_reason(
    client: httpx.Client, drawn_pictures: list[Path]
) -> None:
    good = drawn_pictures[0].read_bytes()
    infer = "/v2/models/maskline/infer"
    cases: list[tuple[str, Any, int, str]] = [
        ("/score", {"data": "x"}, 400, "holds no pictures"),
        ("/score", {"columns": ["image"], "data": ["###"]}, 400, "data[0]: a picture is no base64"),
        ("/score", asked(b"no picture"), 400, "picture 0: the file can't be read as a picture"),
        ("/score", asked(good, b"no picture"), 400, "picture 1: "),
        ("/score", asked(*[good] * 9), 413, "send 8 at the most"),
        ("/score", asked(good, params={"score_threshold": 7}), 400, "score_threshold=7"),
        ("/score", asked(good, params={"iou": 1}), 400, "iou=1 is no limit"),
        (infer, {"inputs": []}, 400, "one tensor"),
        (infer, tensor("FP32", [1, 1, 3], [0, 0, 0]), 400, "datatype='FP32'"),
        (infer, tensor("UINT8", [1, 1, 3], [0, 0]), 400, "1 x 1 x 3 whole numbers"),
        (infer, tensor("UINT8", [1, 1, 3], [0, 0, 256]), 400, "from 0 to 255"),
        (infer, tensor("UINT8", [0, 4, 3], []), 400, "has no pixels"),
        (infer, tensor("UINT8", [2, 2], [0, 0, 0, 0]), 400, "is no picture"),
        (infer, tensor("BYTES", [2], ["aa"]), 400, "does not fit"),
        (infer, tensor("BYTES", [1], ["aaaa"], outputs=[{"name": "depth"}]), 400, "outputs must be"),
        ("/v2/models/other/infer", tensor("BYTES", [0], []), 404, "there is no model other"),
        ("/v2/models/maskline/versions/9/infer", tensor("BYTES", [0], []), 404, "there is no version 9"),
    ]  # fmt: skip
    for path, body, status, reason in cases:
        response = client.post(path, json=body)
        assert (response.status_code, reason in response.json()["error"]) == (status, True), response.text
    assert client.post("/score", content=b"{").status_code == 400
    assert client.post("/score", content=b"[" * 100_000).status_code == 400
    wrong = client.get("/score")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")
    assert wrong.json()["error"] == "/score takes POST, not GET"
    assert client.get("/else").status_code == 404
    packed = client.post("/score", content=b"{}", headers={"content-encoding": "gzip"})
    assert (packed.status_code, "content-encoding=gzip" in packed.text) == (415, True)
    binary = client.post(infer, content=b"{}", headers={"inference-header-content-length": "2"})
    assert binary.status_code == 400


def test_no_request_breaks_the_server(client: httpx.Client, server: Server) -> None:
    infer = "/v2/models/maskline/infer"
    third = pow(7, -1, 2**64)  # 7 * third is 1, where products have 64 bits
    texts = ["x" * 100_000, *[""] * 50_000]
    before = server.memory()
    for shape, data in (
        ([7, third, 3], [1, 2, 3]),
        ([2**62, 4, 3], []),
        ([1, 1, 3], [True, 0, 0]),
        ([1, 1, 3], [[[[1, 2], [3]]]]),
        ([1, len(texts) // 3, 3], texts),
    ):
        response = client.post(infer, json=tensor("UINT8", shape, data))
        assert (response.status_code, "whole numbers" in response.json()["error"]) == (400, True)
    assert server.memory() - before < 32 << 20
    # A letter that JSON can tell and UTF-8 can't.
    response = client.post("/score", content=json.dumps(asked(params={"\ud800": 1})))
    assert (response.status_code, response.json()["error"].startswith("\ud800=1 is no limit")) == (400, True)


def test_pixels_have_the_limit_of_files(onnx_file: Path) -> None:
    model, limits = OnnxModel(onnx_file, threads=1), ServingLimits(pixels=64 * 64)
    answer(model, Asked([np.zeros((64, 64, 3), dtype=np.uint8)]), limits)
    with pytest.raises(Refused, match="picture 0: it has 65x64 pixels, more than 4096") as refused:
        answer(model, Asked([np.zeros((64, 65, 3), dtype=np.uint8)]), limits)
    assert refused.value.status == 413


def test_large_requests_are_not_read(client: httpx.Client, server: Server) -> None:
    assert client.post("/score", content=b" " * ((4 << 20) + 1)).status_code == 413

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b" " * (1 << 16)

    before = server.memory()
    with contextlib.suppress(httpx.TransportError):  # it may close while this side is still sending
        assert client.post("/score", content=endless()).status_code == 413
    assert server.memory() - before < 32 << 20
    assert client.get("/v2/health/ready").status_code == 200


def test_odd_pictures_are_answered_or_refused(client: httpx.Client, odd: Path) -> None:
    files = [
        file
        for file in sorted(odd.iterdir())
        if file.suffix in (".jpg", ".png", ".tif", ".gif", ".webp", ".bmp")
    ]
    assert len(files) > 40
    headers = {"content-type": "application/octet-stream"}
    for file in files:
        response = client.post("/score", content=file.read_bytes(), headers=headers)
        if file.name in BROKEN:
            large = file.name.startswith(("huge", "bomb"))
            assert response.status_code == (413 if large else 400), file.name
            assert response.json()["error"].startswith("picture 0: ")
        else:
            assert response.status_code == 200, (file.name, response.text)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=strategies.data(),
    path=strategies.sampled_from(["/score", "/v2/models/maskline/infer"]),
)
def test_noise_gets_an_answer(client: httpx.Client, data: strategies.DataObject, path: str) -> None:
    leaf = (
        strategies.none()
        | strategies.booleans()
        | strategies.integers()
        | strategies.text()
        | strategies.floats()
    )
    keys = strategies.sampled_from(
        [
            "inputs",
            "name",
            "shape",
            "datatype",
            "data",
            "image",
            "input_data",
            "columns",
            "params",
            "outputs",
            "id",
        ]
    )
    words = strategies.sampled_from(["image", "UINT8", "BYTES", "boxes", 3, [1, 1, 3], [3], -1, 2**70])
    tree = strategies.recursive(
        leaf | words,
        lambda inner: strategies.lists(inner, max_size=4) | strategies.dictionaries(keys, inner, max_size=5),
        max_leaves=12,
    )
    body = data.draw(strategies.binary(max_size=200) | tree.map(lambda value: json.dumps(value).encode()))
    response = client.post(path, content=body)
    assert response.status_code in (200, 400), (body, response.text)
    assert response.status_code == 200 or response.json()["error"]


def test_prometheus_reads_what_happened(client: httpx.Client, drawn_pictures: list[Path]) -> None:
    def number(name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    answered = 'maskline_requests_total{code="200",route="score"}'
    before, pictures = number(answered), number("maskline_pictures_total")
    client.post("/score", json=asked(drawn_pictures[0].read_bytes(), drawn_pictures[1].read_bytes()))
    assert number(answered) == before + 1
    assert number("maskline_pictures_total") == pictures + 2
    assert number('maskline_requests_total{code="400",route="score"}') > 0
    assert number("maskline_requests_in_progress") == 0


def test_fifty_clients_at_a_time_and_memory_stays_flat(server: Server, drawn_pictures: list[Path]) -> None:
    body = asked(drawn_pictures[0].read_bytes())

    async def hammer(seconds: float) -> list[int]:
        limits = httpx.Limits(max_connections=50)
        async with httpx.AsyncClient(base_url=server.url, timeout=60, limits=limits) as client:
            until = time.monotonic() + seconds

            async def one() -> list[int]:
                codes = []
                while time.monotonic() < until:
                    codes.append((await client.post("/score", json=body)).status_code)
                return codes

            return [code for codes in await asyncio.gather(*[one() for _ in range(50)]) for code in codes]

    asyncio.run(hammer(1))
    before = server.memory()
    codes = asyncio.run(hammer(3))
    assert set(codes) == {200}
    assert len(codes) >= 50
    assert server.memory() - before < 48 << 20


def test_a_full_queue_says_when_to_come_again(onnx_file: Path, drawn_pictures: list[Path]) -> None:
    server = Server(onnx_file, queue=2, workers=1)
    try:
        body = json.dumps(asked(*[drawn_pictures[3].read_bytes()] * 8))
        with ThreadPoolExecutor(8) as pool:
            responses = list(
                pool.map(lambda _: httpx.post(f"{server.url}/score", content=body, timeout=60), range(8))
            )
        refused = [one for one in responses if one.status_code == 503]
        assert {one.status_code for one in responses} == {200, 503}
        assert all(one.headers["retry-after"] == "1" for one in refused)
        # What is in work when the server is told to end is still answered.
        with ThreadPoolExecutor(1) as pool:
            last = pool.submit(httpx.post, f"{server.url}/score", content=body, timeout=60)
            time.sleep(0.15)
            code = server.end()
            assert last.result().status_code == 200
        assert code in (0, -signal.SIGTERM)
    finally:
        server.process.kill()


def test_the_server_needs_no_torch_and_no_job(onnx_file: Path) -> None:
    lacking = (
        "torch",
        "pycocotools",
        "pydantic",
        "yaml",
        "kfp",
        "optuna",
        "jinja2",
        "fsspec",
        "matplotlib",
        "onnx",
    )
    script = (
        f"import sys\nfor name in {lacking}: sys.modules[name] = None\n"
        "from maskline.pipelines import cli\nfrom maskline.serving import build_app\n"
        f"from maskline.onnx_model import OnnxModel\nbuild_app(OnnxModel({str(onnx_file)!r}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
