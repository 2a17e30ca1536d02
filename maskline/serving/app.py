"""The application: routes, the queue, and how a request becomes an answer."""

import asyncio
import functools
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TypeVar

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from maskline.detections import Detections
from maskline.onnx_model import OnnxModel

from .limits import Queue, Refused, ServingLimits
from .metrics import ServingMetrics
from .requests import (
    IMAGE,
    INPUTS,
    OUTPUTS,
    TAKEN,
    Asked,
    answer,
    infer_response,
    read_infer,
    read_score,
    score_response,
)

JSON = "application/json"
TEXT = "text/plain; version=0.0.4; charset=utf-8"
T = TypeVar("T")
Handler = Callable[[Request], Awaitable[Response]]


def build_app(model: OnnxModel, name: str = "maskline", limits: ServingLimits | None = None) -> Starlette:
    """The server as an ASGI application.

    Args:
        model: loaded with threads=1, since requests are worked on side by side.
        name: of the model in protocol v2.
        limits: what is taken.
    """
    house = _House(model, name, limits or ServingLimits())
    served = [
        Route("/score", house.counted("score", house.score), methods=["POST"]),
        Route("/metrics", house.metrics_page),
        Route("/v2", house.server),
        Route("/v2/health/live", house.live),
        Route("/v2/health/ready", house.ready),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        served += [
            Route(path, house.described),
            Route(f"{path}/ready", house.model_ready),
            Route(f"{path}/infer", house.counted("infer", house.infer), methods=["POST"]),
        ]
    return Starlette(
        routes=served, lifespan=house.open, exception_handlers={Refused: _refuse, HTTPException: _unknown}
    )


class _House:
    """One model and the requests for it."""

    def __init__(self, model: OnnxModel, name: str, limits: ServingLimits) -> None:
        self.model, self.name, self.limits = model, name, limits
        self.version = model.facts.get("data_digest", "")[:12] or "1"
        self.metrics = ServingMetrics(name, self.version)
        self.queue = Queue(limits.queue)
        self.is_ready = False
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.pool = ThreadPoolExecutor(limits.workers or cores, thread_name_prefix="model")

    @asynccontextmanager
    async def open(self, app: Starlette) -> AsyncIterator[None]:
        """Ready after a first answer, which allocates; at the end what is in work is finished."""
        await self.run(lambda: self.model(np.zeros((64, 64, 3), dtype=np.uint8)))
        self.is_ready = True
        try:
            yield
        finally:
            self.is_ready = False
            self.pool.shutdown()

    async def run(self, work: Callable[[], T]) -> T:
        """Work in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, work)

    def counted(self, route: str, handler: Handler) -> Handler:
        """The handler with its place in the queue, and its numbers."""

        @functools.wraps(handler)
        async def counting(request: Request) -> Response:
            began, code = time.perf_counter(), 500
            try:
                with self.queue, self.metrics.waiting.track_inprogress():
                    response = await handler(request)
                code = response.status_code
                return response
            except Refused as refused:
                code = refused.status
                raise
            except ClientDisconnect:
                code = 499  # as nginx has it
                return Response(status_code=400)
            finally:
                self.metrics.requests.labels(route, str(code)).inc()
                self.metrics.seconds.labels(route).observe(time.perf_counter() - began)

        return counting

    async def score(self, request: Request) -> Response:
        """Azure's request and response."""
        body = await self.body(request)
        kind = request.headers.get("content-type", JSON).lower()

        def work() -> tuple[bytes, list[Detections]]:
            found = answer(self.model, read_score(body, kind), self.limits)
            return score_response(found), found

        return self.answered(*await self.run(work))

    async def infer(self, request: Request) -> Response:
        """Protocol v2."""
        self.known(request)
        if "inference-header-content-length" in request.headers:
            raise Refused(400, "tensors in binary form are not supported; send JSON")
        body = await self.body(request)

        def work() -> tuple[bytes, list[Detections]]:
            asked: Asked = read_infer(body)
            found = answer(self.model, asked, self.limits)
            return infer_response(found, asked, self.name, self.version), found

        return self.answered(*await self.run(work))

    def answered(self, content: bytes, found: list[Detections]) -> Response:
        """The response, counted."""
        self.metrics.pictures.inc(len(found))
        for one in found:
            for label in one.names:
                self.metrics.detections.labels(label).inc()
        return Response(content, media_type=JSON)

    async def body(self, request: Request) -> bytes:
        """The body, which is not read further than the limit.

        Raises:
            Refused: it is larger, compressed, or takes too long.
        """
        packed = request.headers.get("content-encoding", "identity")
        if packed.lower() != "identity":
            raise Refused(415, f"content-encoding={packed} is not supported; send the body as it is")
        most = self.limits.body_bytes
        too_large = Refused(413, f"the request is larger than {most} bytes", {"Connection": "close"})
        told = request.headers.get("content-length", "0")
        if not told.isdigit() or int(told) > most:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(self.limits.body_seconds):
                async for part in request.stream():
                    size += len(part)
                    if size > most:
                        raise too_large
                    parts.append(part)
        except TimeoutError:
            reason = f"the request took longer than {self.limits.body_seconds:g} s to arrive"
            raise Refused(408, reason, {"Connection": "close"}) from None
        return b"".join(parts)

    def known(self, request: Request) -> None:
        """Raise Refused where the path names another model."""
        asked = request.path_params["name"]
        if asked != self.name:
            raise Refused(404, f"there is no model {asked}; this server has {self.name}")
        number = request.path_params.get("version", self.version)
        if number != self.version:
            raise Refused(404, f"there is no version {number} of {self.name}; this server has {self.version}")

    async def metrics_page(self, request: Request) -> Response:
        """For Prometheus."""
        return Response(self.metrics.text(), headers={"content-type": TEXT})

    async def server(self, request: Request) -> Response:
        """Who this is."""
        return JSONResponse({"name": "maskline", "version": version("maskline"), "extensions": []})

    async def live(self, request: Request) -> Response:
        """The process answers."""
        return JSONResponse({"live": True})

    async def ready(self, request: Request) -> Response:
        """The model answers, and there is a place in the queue."""
        ready = self.is_ready and self.queue.taken < self.queue.places
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    async def described(self, request: Request) -> Response:
        """Inputs and outputs of the model."""
        self.known(request)
        return JSONResponse(
            {
                "name": self.name,
                "versions": [self.version],
                "platform": "onnxruntime_onnx",
                "inputs": INPUTS,
                "outputs": OUTPUTS,
                "parameters": {IMAGE: TAKEN, "classes": list(self.model.classes), **self.model.thresholds},
            }
        )

    async def model_ready(self, request: Request) -> Response:
        """As `ready`, in protocol v2's form for a model."""
        self.known(request)
        return JSONResponse({"name": self.name, "ready": self.is_ready}, 200 if self.is_ready else 503)


async def _refuse(request: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    # In ASCII: a reason may repeat letters of the request that UTF-8 has not.
    content = json.dumps({"error": error.reason})
    return Response(content, error.status, error.headers, media_type=JSON)


async def _unknown(request: Request, error: Exception) -> Response:
    """No such path, or none that takes this method."""
    if not isinstance(error, HTTPException):
        raise error
    path, allowed = request.url.path, dict(error.headers or {})
    reason = f"there is nothing at {path}; see /v2, /score, /metrics"
    if error.status_code == 405:
        reason = f"{path} takes {allowed['Allow']}, not {request.method}"
    return await _refuse(request, Refused(error.status_code, reason, allowed))
