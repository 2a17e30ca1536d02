"""A weights file that explains itself: safetensors, with settings, classes and score in its header."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .errors import CheckpointError
from .models import build_model
from .settings import TrainingSettings, complete

HEADER = "maskline"


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


def save(path: Path, model: nn.Module, checkpoint: Checkpoint) -> None:
    """Write a checkpoint; a reader sees the old file or the new one, never a part.

    Raises:
        OSError: the file can't be written.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, partial, metadata={HEADER: json.dumps(asdict(checkpoint))})
    partial.chmod(0o644)  # safetensors lets nobody else read; later stages may run as another user
    os.replace(partial, path)


def describe(path: Path) -> Checkpoint:
    """What a checkpoint says of itself, without loading its tensors.

    Raises:
        CheckpointError: the file is missing, damaged or none of Maskline's.
    """
    try:
        with safe_open(path, framework="pt") as stream:
            header = (stream.metadata() or {})[HEADER]
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
    tensors: dict[str, Tensor] = load_file(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} doesn't fit {checkpoint.training_settings.model_name}: {error}"
        ) from error
    return model.eval(), checkpoint
