"""What a training tells of itself while it runs: JSON lines by epoch, and curves for TensorBoard."""

import json
import os
import time
from typing import TYPE_CHECKING, Any

from maskline.artifacts import TrialDirectory

from .resume import Progress

if TYPE_CHECKING:
    from tensorboardX import SummaryWriter

POINTS = 1000
"""About as many points has a curve by steps, so that a long training's files stay small."""


class Record:
    """The metrics of a training, in the trial's directory.

    What was written of steps and epochs that will be trained anew, since the checkpoint is older than they
    are, is removed: lines from the file, points from what TensorBoard shows.

    Args:
        files: of the trial.
        progress: how far the training is.
        steps: how many steps the training has in all.
        writes: whether this process is the one that writes.
    """

    def __init__(self, files: TrialDirectory, progress: Progress, steps: int, writes: bool = True) -> None:
        self._files = files
        self._progress = progress
        self._every = max(1, steps // POINTS)
        self._writes = writes
        self._writer: SummaryWriter | None = None
        if writes and files.metrics.exists():
            kept = files.metrics.read_text(encoding="utf-8").splitlines(keepends=True)[: progress.lines]
            shorter = files.metrics.with_name(f".{files.metrics.name}.{os.getpid()}")
            shorter.write_text("".join(kept), encoding="utf-8")
            os.replace(shorter, files.metrics)  # a kill just here costs no epoch its line

    def step(self, losses: dict[str, float], learning_rate: float, rate: float, waited: float) -> None:
        """Add a point to the curves of the training, by steps of the optimiser.

        Args:
            losses: the step's mean loss and its parts, by name.
            learning_rate: of the step.
            rate: pictures a second.
            waited: share of the step's time that was spent waiting for pictures, 0 to 1.
        """
        if self._progress.total % self._every == 0:
            more = {"learning_rate": learning_rate, "images_per_second": rate, "waiting_share": waited}
            self._draw("train", {**losses, **more})

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
        with self._files.metrics.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        self._draw("validation", metrics)
        if self._writer:
            self._writer.flush()
        shown = ("train_loss", "learning_rate", "score", "images_per_second", "seconds")
        told = ", ".join(f"{name} {line[name]:.4g}" for name in shown if name in line)
        print(f"epoch {done.epoch}: {told}")

    def close(self) -> None:
        """Have the files hold everything."""
        if self._writer:
            self._writer.close()

    def _draw(self, group: str, numbers: dict[str, float]) -> None:
        if not self._writes:
            return
        if self._writer is None:
            from tensorboardX import SummaryWriter  # not before there is something to write

            self._writer = SummaryWriter(
                str(self._files.tensorboard),
                purge_step=self._progress.total,
                filename_suffix=f".{time.time_ns()}",
            )
        for name, number in numbers.items():
            self._writer.add_scalar(f"{group}/{name}", number, self._progress.total)


class Stopwatch:
    """Seconds from one lap to the next."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def lap(self) -> float:
        """Seconds since the last lap, or since the start."""
        began, self._began = self._began, time.perf_counter()
        return self._began - began
