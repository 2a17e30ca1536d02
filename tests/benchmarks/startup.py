"""How long a person waits for `maskline --help`."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from .harness import Figure


def measure() -> Iterator[Figure]:
    """Wall time of the command, against Python starting and ending."""
    maskline = str(Path(sys.executable).with_name("maskline"))
    ours, bare = [], []
    for _ in range(7):
        ours.append(_seconds(maskline, "--help"))
        bare.append(_seconds(sys.executable, "-c", "pass"))
    peer = f"python -c pass: {median(bare):.2f} s"
    yield Figure("startup.help", median(ours), 1.0, "lower", peer, "s")


def _seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began
