"""What a training tells of itself while it runs: one JSON line an epoch."""

import json
import time
from pathlib import Path
from typing import Any

from .resume import Progress


class Record:
    """The metrics of a training, in the trial's directory.

    Lines of epochs that will be trained anew, since the checkpoint is older than they are, are removed.

    Args:
        path: of the metrics file (`TrialDirectory.metrics`).
        progress: how far the training is; its `lines` are kept.
        writes: whether this process is the one that writes.
    """

    def __init__(self, path: Path, progress: Progress, writes: bool = True) -> None:
        self._path = path
        self._progress = progress
        self._writes = writes
        if writes and path.exists():
            kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[: progress.lines]
            path.write_text("".join(kept), encoding="utf-8")

    def epoch(self, learning_rate: float, metrics: dict[str, Any]) -> None:
        """Write the line of an epoch: the mean losses of its pictures, and of the metrics only what was
        measured in it.
        """
        done = self._progress
        line = {
            "epoch": done.epoch,
            **{name: total / done.pictures for name, total in done.losses.items()},
            "learning_rate": learning_rate,
            "images_per_second": round(done.pictures / done.epoch_seconds, 3),
            "data_seconds": round(done.epoch_waiting, 3),
            **metrics,
            "seconds": round(done.seconds, 2),
        }
        done.lines += 1
        if not self._writes:
            return
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        shown = ("train_loss", "learning_rate", "score", "images_per_second", "seconds")
        told = ", ".join(f"{name} {line[name]:.4g}" for name in shown if name in line)
        print(f"epoch {done.epoch}: {told}")


class Stopwatch:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap, or since the start."""
        began, self._began = self._began, time.perf_counter()
        return self._began - began
