"""What both stand-ins share: routes, faults to order, and a record of what was asked."""

import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Request:
    """What was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: Any
    body: Any = None


@dataclass
class Answer:
    """What is answered: plain data as JSON, or text."""

    body: Any = field(default_factory=dict)
    status: int = 200
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """An answer that isn't 2xx."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass
class Fault:
    """Something that goes wrong with requests that match.

    Attributes:
        pattern: of `METHOD path`.
        answer: what is answered instead; None for the right answer, late.
        delay: seconds before it.
        times: how often; then it is over.
    """

    pattern: str
    answer: Answer | None = None
    delay: float = 0.0
    times: int = 1_000_000


class Server:
    """A server with routes: methods named in `routes` by `METHOD pattern`."""

    def __init__(self) -> None:
        self.asked: list[Request] = []
        self.faults: list[Fault] = []
        self.routes: list[tuple[str, Callable[..., Answer]]] = []
        self.guard: Callable[[Request], None] = lambda request: None
        self.lock = threading.RLock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (BrokenPipeError, ConnectionResetError):
                    self.close_connection = True

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                found = outer.answer(self.command, self.path, self.headers, body)
                text = found.body if isinstance(found.body, str) else json.dumps(found.body)
                self.send_response(found.status)
                self.send_header("Content-Type", found.kind)
                self.send_header("Content-Length", str(len(text.encode())))
                for name, value in found.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text.encode())

            do_GET = do_POST = do_DELETE = do_HEAD = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, target: str, headers: Any, body: bytes) -> Answer:
        """The answer to a request, after what was ordered to go wrong."""
        parts = urlsplit(target)
        request = Request(method, parts.path, dict(parse_qsl(parts.query)), headers)
        request.body = json.loads(body) if body else None
        self.asked.append(request)
        for fault in self.faults:
            if fault.times > 0 and re.search(fault.pattern, f"{method} {parts.path}"):
                fault.times -= 1
                time.sleep(fault.delay)
                if fault.answer is not None:
                    return fault.answer
        try:
            self.guard(request)
            for pattern, route in self.routes:
                if found := re.fullmatch(pattern, f"{method} {parts.path}"):
                    with self.lock:
                        return route(request, *found.groups())
        except Refusal as refusal:
            return refusal.answer
        return self.unknown(request)

    def unknown(self, request: Request) -> Answer:
        """The answer to what no route knows."""
        return Answer({"code": 12, "message": f"Not Implemented: {request.method} {request.path}"}, 501)

    def made(self, *methods: str) -> list[str]:
        """`METHOD path` of every request that changes something."""
        return [f"{r.method} {r.path}" for r in self.asked if r.method in (methods or ("POST", "DELETE"))]
