"""A page in headless Chromium: what it asks for, what it complains about, and how it is laid out."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import websocket

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--hide-scrollbars", "--remote-debugging-port=0"),
    "--remote-allow-origins=*",
)
PATIENCE = 60
SCRIPT = """JSON.stringify({
  pictures: [...document.images].map(i => [i.complete, i.naturalWidth, i.getClientRects().length]),
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  background: getComputedStyle(document.body).backgroundColor,
  text: document.body.innerText,
})"""


@dataclass(frozen=True)
class Seen:
    """What Chromium saw of a page.

    Attributes:
        requests: every URL that was asked for, `data:` ones left out.
        complaints: what the console holds.
        pictures: for each whether it is complete, its own width, and how many boxes show it.
        overflow: pixels by which the page is wider than its window.
        background: colour of the page, as CSS.
        text: of the page.
    """

    requests: list[str]
    complaints: list[str]
    pictures: list[tuple[bool, int, int]]
    overflow: int
    background: str
    text: str


def look(page: Path, width: int = 1280, *, dark: bool = False) -> Seen:
    """Open a page; skips the test where there is no Chromium."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("chromium is not installed")
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [program, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            return _look(_connect(Path(profile)), page, width, dark)
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()
            time.sleep(0.2)  # its children still write to the profile


def _connect(profile: Path) -> websocket.WebSocket:
    deadline = time.monotonic() + PATIENCE
    port = profile / "DevToolsActivePort"
    while time.monotonic() < deadline:
        if port.is_file() and port.read_text():
            address = f"http://127.0.0.1:{port.read_text().splitlines()[0]}/json"
            with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
                pages = [t for t in json.load(answer) if t["type"] == "page"]
            if pages:
                return websocket.create_connection(pages[0]["webSocketDebuggerUrl"], timeout=PATIENCE)
        time.sleep(0.1)
    raise TimeoutError("chromium doesn't answer")


def _look(line: websocket.WebSocket, page: Path, width: int, dark: bool) -> Seen:
    events: list[dict[str, Any]] = []
    numbers = itertools.count(1)

    def receive() -> dict[str, Any]:
        message: dict[str, Any] = json.loads(line.recv())
        events.append(message)
        return message

    def ask(method: str, **parameters: Any) -> Any:
        number = next(numbers)
        line.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while (message := receive()).get("id") != number:
            pass
        return message["result"]

    for domain in ("Page", "Network", "Log", "Runtime"):
        ask(f"{domain}.enable")
    ask(
        "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
    )
    theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    ask("Emulation.setEmulatedMedia", features=[theme])
    ask("Page.navigate", url=page.as_uri())
    while not any(event.get("method") == "Page.loadEventFired" for event in events):
        receive()
    found = json.loads(ask("Runtime.evaluate", expression=SCRIPT)["result"]["value"])
    urls = [e["params"]["request"]["url"] for e in events if e.get("method") == "Network.requestWillBeSent"]
    logged = [e["params"]["entry"]["text"] for e in events if e.get("method") == "Log.entryAdded"]
    said = [str(e["params"]) for e in events if e.get("method") == "Runtime.consoleAPICalled"]
    requests = [url for url in urls if not url.startswith("data:")]
    return Seen(requests, logged + said, [tuple(p) for p in found.pop("pictures")], **found)
