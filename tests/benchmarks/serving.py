"""A server under load: fifty clients for a minute on the light model, by real HTTP."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import quantiles

import httpx
import onnx
import torch

from maskline.checkpoint import Checkpoint
from maskline.components.onnx_export.export import export, finished
from maskline.models import build_model

from .harness import Figure
from .prediction import a_jpeg

CLIENTS, SECONDS, WARMING = 50, 60, 10
CHOSEN = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 192,
    "max_size": 256,
    "advanced_settings": {"pretrained_weights": "none"},
}
BROKEN, LATE = 0, -1
Answered = list[tuple[int, float]]
"""Of each request, the status (BROKEN, or LATE where its client gave up) and the seconds that it took."""


def measure() -> Iterator[Figure]:
    """Errors, growth of the server's memory and latency; the clients are on the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        process, url = _started(_model(Path(folder) / "model.onnx"))
        try:
            asyncio.run(_load(url, WARMING))
            before = _memory(process.pid)
            answered = asyncio.run(_load(url, SECONDS))
            growth = _memory(process.pid) - before
        finally:
            process.terminate()
            process.wait(60)
    errors = sum(status != 200 for status, _ in answered)
    spread = quantiles([seconds for _, seconds in answered], n=20)
    failed = dict(Counter(status for status, _ in answered if status != 200))
    told = (
        f"{len(answered)} requests of {CLIENTS} clients in {SECONDS} s, {os.cpu_count()} processors; {failed}"
    )
    yield Figure("serving.errors", errors, 0, "lower", told, "")
    yield Figure("serving.memory_growth", growth / 2**20, 32, "lower", f"{before >> 20} MiB before", "MiB")
    # How long fifty wait is the machine's affair: for information, with a proxy's usual patience as target.
    for name, seconds in (("p50", spread[9]), ("p95", spread[18])):
        yield Figure(f"serving.{name}", seconds, 60, "lower", told, "s")


def _model(path: Path) -> Path:
    torch.manual_seed(0)
    described = Checkpoint(CHOSEN, ("a", "b", "c"), epoch=1)
    detector = build_model(described.training_settings, 3).eval()
    onnx.save(finished(export(detector, described), described), path)
    return path


def _started(model: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "maskline.pipelines.cli", "serve", str(model), "--port", str(port)]
    process = subprocess.Popen(command)
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return process, url
        except httpx.TransportError:
            time.sleep(0.2)
    process.kill()
    raise RuntimeError("the server was not ready within 60 s")


async def _load(url: str, seconds: float) -> Answered:
    """Every client sends its next request when it has the answer to the last."""
    limits = httpx.Limits(max_connections=CLIENTS)
    picture, headers = a_jpeg(), {"content-type": "image/jpeg"}
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        until = time.monotonic() + seconds

        async def one() -> Answered:
            found: Answered = []
            while (began := time.monotonic()) < until:
                try:
                    status = (await client.post("/score", content=picture, headers=headers)).status_code
                except httpx.TimeoutException:
                    status = LATE
                except httpx.TransportError:
                    status = BROKEN
                found.append((status, time.monotonic() - began))
            return found

        return [entry for found in await asyncio.gather(*[one() for _ in range(CLIENTS)]) for entry in found]


def _memory(process: int) -> int:
    """Bytes that a process holds."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) * 1024
