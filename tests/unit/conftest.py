"""Stores on this machine that tests use over real HTTP: an S3 server that can fail, and a web server."""

import http.server
import socket
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.request import Request, urlopen

import pytest


class Faulty:
    """A WSGI application that fails as many requests as it is told to."""

    def __init__(self, application) -> None:
        self.application = application
        self.faults: list[str] = []
        self.seen: list[str] = []

    def __call__(self, environ, start_response):
        self.seen.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "reset":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if fault and fault != "short":
            start_response(f"{fault} told to", [("Content-Length", "0")])
            return [b""]
        body = b"".join(self.application(environ, start_response))
        return [body[: len(body) // 2] if fault == "short" else body]


@pytest.fixture(scope="session")
def _s3() -> Iterator[tuple[str, Faulty]]:
    moto = pytest.importorskip("moto.server")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Silent(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *args: object) -> None:
            """Say nothing."""

    faulty = Faulty(moto.DomainDispatcherApplication(moto.create_backend_app))
    server = make_server("127.0.0.1", 0, faulty, threaded=True, request_handler=Silent)
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", faulty
    server.shutdown()


@pytest.fixture
def bucket(_s3: tuple[str, Faulty], monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket of an S3 server, reached as users reach theirs: by the environment."""
    address, faulty = _s3
    variables = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hush",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": address,
        "NO_PROXY": "127.0.0.1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("maskline.faults.PAUSE", 0.001)
    faulty.faults.clear()
    for method, path in (("POST", "moto-api/reset"), ("PUT", "bucket")):
        urlopen(Request(f"{address}/{path}", method=method)).close()
    faulty.seen.clear()
    return "s3://bucket"


@pytest.fixture
def faults(bucket: str, _s3: tuple[str, Faulty]) -> list[str]:
    """What the next requests meet: a status, `reset`, `short`, or "" for nothing; the first comes first."""
    return _s3[1].faults


@pytest.fixture
def requests(bucket: str, _s3: tuple[str, Faulty]) -> list[str]:
    """The requests that the bucket got, as `METHOD /path`."""
    return _s3[1].seen


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a web server, and the folder that it shows."""
    folder = tmp_path / "web"
    folder.mkdir()
    monkeypatch.setattr("maskline.faults.PAUSE", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder))) as server:
        threading.Thread(target=partial(server.serve_forever, poll_interval=0.02), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


@pytest.fixture
def tiny_rfdetr(monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Settings of rfdetr_seg from scratch, whose size `small` is made so narrow that tests can wait."""
    pytest.importorskip("transformers")
    from maskline.models import rfdetr

    recipe = rfdetr.Recipe(decoder=2, groups=2, width=48, heads=2, layers=4, returned=(1, 2, 3, 4))
    monkeypatch.setitem(rfdetr.RECIPES, "small", recipe)
    return {
        "model_name": "rfdetr_seg",
        "model_size": "small",
        "image_size": 120,
        "advanced_settings": '{"pretrained_weights": "none"}',
    }
