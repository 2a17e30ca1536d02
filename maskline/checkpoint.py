"""A weights file that explains itself: safetensors, with settings, classes and score in its header.

A checkpoint from the middle of a training also holds what is needed to continue it: more tensors, whose names
begin with `@`, and plain data in the header. Nothing is pickled.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .artifacts import DESCRIPTION, NO_WEIGHT
from .errors import CheckpointError
from .models import build_model
from .settings import TrainingSettings, complete

TRAINING = "maskline.training"
DIGEST = "maskline.digest"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint says of itself.

    Attributes:
        settings: the settings it was trained with, as plain data.
        classes: class names; label i + 1 of the model is classes[i].
        epoch: epochs trained, from 1.
        score: primary metric at that epoch, 0 to 1; None if it was not evaluated.
        metrics: all metrics at that epoch by name.
        digest: of the prepared data set.
    """

    settings: dict[str, Any]
    classes: tuple[str, ...]
    epoch: int
    score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    digest: str = ""

    @property
    def training_settings(self) -> TrainingSettings:
        """The settings, validated."""
        return complete(self.settings)


@dataclass(frozen=True)
class Training:
    """What a training needs to continue, beyond the weights.

    Attributes:
        tensors: by name, e.g. of the optimiser.
        plain: everything else, as JSON can hold it.
    """

    tensors: dict[str, Tensor]
    plain: dict[str, Any]


def save(path: Path, model: nn.Module, checkpoint: Checkpoint, training: Training | None = None) -> None:
    """Write a checkpoint; a reader sees the old file or the new one, never a part, whatever happens.

    Raises:
        OSError: the file can't be written.
    """
    tensors = dict(model.state_dict())
    header = {DESCRIPTION: json.dumps(asdict(checkpoint))}
    if training is not None:
        tensors |= {f"{NO_WEIGHT}{name}": tensor for name, tensor in training.tensors.items()}
        header[TRAINING] = json.dumps(training.plain)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header[DIGEST] = _digest(tensors)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, partial, metadata=header)
    partial.chmod(0o644)  # safetensors lets nobody else read; later stages may run as another user
    _sync(partial)
    os.replace(partial, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Have the disk hold what was written; a file's folder holds its name."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def describe(path: Path) -> Checkpoint:
    """What a checkpoint says of itself, without loading its tensors.

    Raises:
        CheckpointError: the file is missing, damaged or none of Maskline's.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {})[DESCRIPTION]
        data = json.loads(header)
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of Maskline: {error!r}") from error
    return Checkpoint(**{**data, "classes": tuple(data["classes"])})


def restore(path: Path) -> tuple[nn.Module, Checkpoint]:
    """The model of a checkpoint, in evaluation mode on the CPU, and what the file says of itself.

    Raises:
        CheckpointError: the file is missing or damaged, or doesn't fit the model it names.
    """
    checkpoint = describe(path)
    model = build_model(checkpoint.training_settings, len(checkpoint.classes))
    read_weights(path, model)
    return model.eval(), checkpoint


def read_weights(path: Path, model: nn.Module) -> Training | None:
    """Give a model the weights of a checkpoint, in place; what its training needs to continue, or None.

    Raises:
        CheckpointError: the file is missing or damaged, or doesn't fit the model.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = stream.metadata() or {}
        tensors = load_file(path)
        plain = json.loads(header.get(TRAINING, "null"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of Maskline: {error!r}") from error
    if header.get(DIGEST, "") not in ("", _digest(tensors)):
        raise CheckpointError(f"{path} is damaged: its tensors are not those that were written")
    try:
        model.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(NO_WEIGHT)})
    except RuntimeError as error:
        raise CheckpointError(f"{path} doesn't fit {type(model).__name__}: {error}") from error
    if plain is None:
        return None
    own = {name.removeprefix(NO_WEIGHT): t for name, t in tensors.items() if name.startswith(NO_WEIGHT)}
    return Training(own, plain)
