"""Commands to a Docker engine."""

import os
import subprocess
from pathlib import Path

TEST_BASES = {"BASE": "maskline-test-base", "BUILDER": "maskline-test-builder"}
"""Build arguments and what images/test_base.sh makes for them."""


def docker(*words: str, text: str = "") -> str:
    """Standard output of a docker command that must succeed."""
    done = subprocess.run(["docker", *words], input=text, capture_output=True, text=True)
    assert done.returncode == 0, (
        f"docker {' '.join(words)[:200]}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout


def answers(*words: str) -> bool:
    """Whether a docker command succeeds."""
    return subprocess.run(["docker", *words], capture_output=True).returncode == 0


def reachable(folder: Path) -> None:
    """Let another user find its way to a folder."""
    for part in (folder, *folder.parents):
        if part.stat().st_uid == os.getuid() and part != Path("/"):
            part.chmod(part.stat().st_mode | 0o055)
