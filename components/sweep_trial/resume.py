"""How far a training is, and how it continues from there to the bit.

Random numbers need no keeping: whatever is drawn depends on the seed, the epoch and the batch only. Neither
does the learning rate, which depends on the step. What is left is the weights, the optimiser's tensors, and
the numbers below.
"""

import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from maskline import checkpoint, storage
from maskline.artifacts import TrialDirectory
from maskline.checkpoint import Checkpoint, Training
from maskline.errors import CheckpointError, StageError, StorageError
from maskline.faults import patiently

from .copies import is_owned

KEEP_SECONDS = 600.0
"""After how long a training keeps a checkpoint within an epoch too: what is killed loses no more."""
PATIENCE_SECONDS = 1800.0
"""How long the end of a training waits for a store that is away."""


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        epoch: the epoch that is under way, from 1.
        steps: steps of the optimiser done in it; all of them if only its evaluation is left.
        total: steps done since the start.
        losses: sums over the epoch's pictures so far of the loss and its parts, by name.
        pictures: how many pictures that were.
        seconds: that training and evaluation took so far.
        epoch_seconds: that the steps of the epoch took.
        epoch_waiting: of them, those spent waiting for pictures.
        lines: metrics lines written.
        most: pictures that fit into memory at a time; None for all of a batch.
        stopping: of EarlyStopping.
        over: the training is finished.
    """

    epoch: int = 1
    steps: int = 0
    total: int = 0
    losses: dict[str, float] = field(default_factory=dict)
    pictures: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    epoch_waiting: float = 0.0
    lines: int = 0
    most: int | None = None
    stopping: dict[str, Any] = field(default_factory=dict)
    over: bool = False

    def add(self, losses: dict[str, float], pictures: int, seconds: float, waited: float) -> None:
        """Count a step: its mean losses, its pictures, how long it took and how long it waited for them."""
        for name, value in losses.items():
            self.losses[name] = self.losses.get(name, 0.0) + value * pictures
        self.pictures += pictures
        self.seconds += seconds
        self.epoch_seconds += seconds
        self.epoch_waiting += waited
        self.steps += 1
        self.total += 1

    def next_epoch(self) -> None:
        """Begin the next epoch."""
        self.epoch += 1
        self.steps, self.pictures, self.losses = 0, 0, {}
        self.epoch_seconds = self.epoch_waiting = 0.0


class Shelf:
    """The checkpoints of a training, in the trial's directory.

    Args:
        files: of the trial.
        known: what the checkpoints say of themselves: settings, classes, digest of the data.
        model: of which they hold the weights.
        optimizer, scaler, average: whose state `last` holds.
        copies: URI of a folder where the files are kept too; empty for none.
        writes: whether this process is the one that writes.
    """

    def __init__(
        self,
        files: TrialDirectory,
        known: Checkpoint,
        model: nn.Module,
        optimizer: Optimizer,
        scaler: torch.amp.GradScaler,
        average: nn.Module | None = None,
        copies: str = "",
        writes: bool = True,
    ) -> None:
        self._files = files
        self._known = known
        self._model = model
        self._optimizer = optimizer
        self._scaler = scaler
        self._average = average
        self._copies = copies
        self._copied: dict[Path, int] = {}
        self._writes = writes
        self._kept = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old, or, where there is none, the training."""
        return time.monotonic() - self._kept >= KEEP_SECONDS

    def best(self, judged: nn.Module, epoch: int, metrics: dict[str, Any]) -> None:
        """Write the model that was judged as the best so far; `metrics` hold its `score`."""
        if not self._writes:
            return
        rest = {name: value for name, value in metrics.items() if name != "score"}
        said = replace(self._known, epoch=epoch, score=metrics["score"], metrics=rest)
        checkpoint.save(self._files.best, judged, said)

    def keep(self, progress: Progress) -> None:
        """Write `last`, from which `restore` continues; the one before it stays as `previous`.

        A training that is over keeps its weights only.
        """
        if not self._writes:
            return
        tensors, plain = ({}, {}) if progress.over else _flat(self._optimizer)
        if self._average is not None and not progress.over:
            tensors |= {f"average.{name}": value for name, value in self._average.state_dict().items()}
        if self._files.last.exists():
            os.replace(self._files.last, self._files.previous)
        numbers = {"progress": asdict(progress), "optimizer": plain, "scaler": self._scaler.state_dict()}
        training = Training(tensors, numbers)
        said = replace(self._known, epoch=progress.epoch - (not progress.over))
        checkpoint.save(self._files.last, self._model, said, training)
        if progress.over:
            self._files.previous.unlink(missing_ok=True)
        self._copy(progress.over)
        self._kept = time.monotonic()

    def _copy(self, over: bool) -> None:
        """Keep the files at the URI too, `last` after those that belong to it."""
        if not self._copies:
            return
        if over:
            patiently(self._put, PATIENCE_SECONDS)
            return
        try:
            self._put()
        except StorageError as error:
            print(f"{error}; training goes on, and the next checkpoint is copied there")

    def _put(self) -> None:
        if not is_owned(self._files, self._copies):
            return  # its supervisor finds out too, and ends this process
        curves = sorted(self._files.tensorboard.glob("*"))
        for path in (self._files.best, self._files.metrics, *curves, self._files.last):
            if path.exists() and (written := path.stat().st_mtime_ns) != self._copied.get(path):
                names = path.relative_to(self._files.path).parts
                storage.put(path, storage.join(self._copies, *names))
                self._copied[path] = written

    def collect(self) -> None:
        """Have the directory hold what was kept before, and nothing half-written.

        Raises:
            StorageError: the copies can't be reached, so that nobody knows whether there are any.
        """
        if not self._writes:
            return
        for pattern in (".*.*.[0-9]*", ".tmp*"):  # ours, and those of safetensors
            for partial in self._files.path.glob(pattern):
                partial.unlink(missing_ok=True)  # left by a process that was killed while it wrote
        if self._copies and not self._files.last.exists():
            for path in (self._files.best, self._files.metrics, self._files.last):
                place = storage.join(self._copies, path.name)
                if storage.exists(place):
                    storage.fetch(place, path)

    def restore(self) -> Progress | None:
        """Put model and optimiser where `last` left them; None if there is nothing to continue from.

        A damaged checkpoint is reported, and the one before it taken; without that, training starts anew.

        Raises:
            StageError: the directory holds a training with other settings or of other data.
        """
        paths = [path for path in (self._files.last, self._files.previous) if path.exists()]
        new = {name: tensor.clone() for name, tensor in self._model.state_dict().items()} if paths else {}
        for path in paths:
            try:
                return self._read(path)
            except CheckpointError as error:
                print(f"{error}; going on from the checkpoint before it, or from the start")
                self._model.load_state_dict(new)  # whatever was read of it
        return None

    def _read(self, path: Path) -> Progress:
        said = checkpoint.describe(path)
        for what in ("settings", "classes", "digest"):
            there, here = getattr(said, what), getattr(self._known, what)
            if there != here:
                raise StageError(
                    f"{path} is of a training with other {what} ({there}, not {here}); "
                    "give this training a directory of its own"
                )
        training = checkpoint.read_weights(path, self._model)
        if training is None:
            raise CheckpointError(f"{path} holds weights, and not what it takes to continue")
        try:
            progress = Progress(**training.plain["progress"])
        except (KeyError, TypeError) as error:
            raise CheckpointError(f"{path} was written by another version of Maskline: {error}") from error
        _put(training, self._optimizer)
        self._scaler.load_state_dict(training.plain["scaler"])
        if self._average is not None and not training.plain["progress"]["over"]:
            own = {n.split(".", 1)[1]: t for n, t in training.tensors.items() if n.startswith("average.")}
            self._average.load_state_dict(own)
        print(f"going on from {path}: epoch {progress.epoch}, {progress.steps} steps of it done")
        return progress


def _flat(optimizer: Optimizer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimiser's state, tensors and the rest; `optimizer.3.momentum_buffer` is that of parameter 3."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for number, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            (tensors if isinstance(value, Tensor) else plain)[f"optimizer.{number}.{name}"] = value
    return tensors, plain


def _put(training: Training, optimizer: Optimizer) -> None:
    state: dict[int, dict[str, Any]] = {}
    for place, value in {**training.tensors, **training.plain["optimizer"]}.items():
        if place.startswith("optimizer."):
            _, number, name = place.split(".", 2)
            state.setdefault(int(number), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
