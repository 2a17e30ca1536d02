"""The training process of a trial, with all processes that it starts."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from maskline.artifacts import TrialDirectory

from .claim import process_name
from .spec import TrialSpec

GRACE_SECONDS = 20.0
"""What a training process has to save a checkpoint; Kubernetes gives a pod 30 s in all."""
COMMAND = (sys.executable, "-u", "-m", "maskline.components.sweep_trial")
"""What trains, followed by the path of the spec."""
_LAST_LINES = 40


class Child:
    """A training process, in a process group of its own; its output is kept in the trial's log."""

    def __init__(self, spec: TrialSpec, environment: Mapping[str, str]) -> None:
        self._files = TrialDirectory(Path(spec.directory))
        self._files.failure.unlink(missing_ok=True)
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self._process = subprocess.Popen(
            [*COMMAND, str(spec.write())],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, **environment},
            start_new_session=True,  # so that its loader processes end with it
        )
        self.pid = self._process.pid
        with contextlib.suppress(OSError):  # a full disk is told by the training itself
            self._files.process.write_text(process_name(self.pid), encoding="utf-8")
        self._copier = threading.Thread(target=self._copy, args=(self._process.stdout,), daemon=True)
        self._copier.start()

    @property
    def code(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def end(self) -> None:
        """Let it save a checkpoint and go; kill it if it takes longer than GRACE_SECONDS."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it and whatever it started, now."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        self._copier.join(timeout=2)  # what it printed last is part of the reason

    def reason(self) -> str:
        """Why it failed, in one line; empty if it ended well."""
        code, log = self._process.wait(), self._files.log
        if code == 0:
            return ""
        if code < 0:
            hint = ", often for want of memory" if code == -signal.SIGKILL else ""
            return f"the training process was killed by {signal.Signals(-code).name}{hint}; see {log}"
        with contextlib.suppress(OSError):
            if told := self._files.failure.read_text(encoding="utf-8").strip():
                return told
        # A disk that is full takes no failure file and no log.
        last = f": {self._last[-1]}" if self._last else ""
        return f"the training process ended with exit code {code}{last}; see {log}"

    def _copy(self, stream: IO[str] | None) -> None:
        """What the child prints goes to the trial's log and to this process's own output (the pod's log)."""
        for line in stream or ():
            if line.strip():
                self._last.append(line.strip())
            with contextlib.suppress(OSError), self._files.log.open("a", encoding="utf-8") as log:
                log.write(line)
            with contextlib.suppress(OSError):  # in a pod that ends, nobody reads it any more
                sys.stdout.write(line)
