"""What a slot tells the training process that it starts; without torch, so that a slot needs none."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskline.artifacts import TrialDirectory


@dataclass(frozen=True)
class TrialSpec:
    """What the training process is told.

    Attributes:
        settings: the settings that were chosen, as plain data.
        data: folder of the prepared data set.
        directory: the trial's directory, on this machine.
        seed: of weights, shuffling and augmentation.
        deadline: Unix time at which training stops and keeps its best epoch.
        copies: URI of the folder where checkpoints and metrics are kept too, if `directory` doesn't outlive
            the pod; a training that finds no checkpoint in its directory takes them from there.
    """

    settings: dict[str, Any]
    data: str
    directory: str
    seed: int
    deadline: float
    copies: str = ""

    def write(self) -> Path:
        """Write it into the trial's directory."""
        path = TrialDirectory(Path(self.directory)).spec
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        return path

    @classmethod
    def read(cls, path: Path) -> "TrialSpec":
        """The inverse of `write`."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
