"""What the settings know of families of models without torch: which parameter belongs to which, and sizes."""

import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .errors import JobError

RFDETR = "rfdetr_seg"
EXTRA = ("onnxscript", "scipy", "transformers")
"""Packages of the extra `rfdetr`."""
ONE_STAGE, MASK_RCNN = "one-stage models", "Mask R-CNN"


@dataclass(frozen=True)
class Square:
    """The square that a one-stage model sees, and how many objects it looks for.

    Attributes:
        side: in pixels, as published.
        queries: objects that it looks for in a picture.
        step: sides are multiples of this: patches of 12 pixels, in 2 windows.
    """

    side: int
    queries: int
    step: int = 24

    @property
    def least(self) -> int:
        """The least side: queries begin at as many different patches."""
        side = self.step
        while (side // 12) ** 2 < self.queries:
            side += self.step
        return side

    def legal(self, side: float) -> int:
        """The legal side next to one."""
        return max(self.least, round(side / self.step) * self.step)


SQUARES = {
    "small": Square(384, 100),
    "medium": Square(432, 200),
    "large": Square(504, 200),
    "extra_large": Square(624, 300),
}
"""By model_size; https://rfdetr.roboflow.com/latest/learn/run/segmentation."""
USUAL_SIZE = "medium"
"""Without model_size, as on Azure ML."""


class Sized(Protocol):
    """Settings, as far as a size depends on them."""

    @property
    def model_name(self) -> str: ...  # noqa: D102
    @property
    def model_size(self) -> Any: ...  # noqa: D102
    @property
    def image_size(self) -> int | None: ...  # noqa: D102
    @property
    def box_detections_per_image(self) -> int: ...  # noqa: D102
    @property
    def model_fields_set(self) -> set[str]: ...  # noqa: D102


OWN: Mapping[str, tuple[str, str]] = {
    "image_size": (ONE_STAGE, "use min_size and max_size"),
    "model_size": (ONE_STAGE, "its size is part of model_name"),
    "multi_scale": (ONE_STAGE, "its pictures are zoomed by apply_automl_train_augmentations"),
    "min_size": (MASK_RCNN, "use image_size"),
    "max_size": (MASK_RCNN, "use image_size"),
    "nms_iou_threshold": (MASK_RCNN, "each object is found by one query, so that nothing is suppressed"),
}
"""Parameters of one kind of models: which, and what there is instead in the other."""
ASKS_NOTHING: Mapping[str, Any] = {"multi_scale": False, "model_size": "none"}
"""Values of them that ask for nothing, and so are kept."""


def kind_of(model_name: str) -> str:
    """Whose parameters a model has."""
    return ONE_STAGE if model_name == RFDETR else MASK_RCNN


def lacking(model_name: str) -> list[str]:
    """Packages that a model needs beside the extra `train`, and that are not installed."""
    needed = EXTRA if kind_of(model_name) == ONE_STAGE else ()
    return [name for name in needed if importlib.util.find_spec(name) is None]


def require(model_name: str) -> None:
    """See whether a model can be trained here.

    Raises:
        JobError: a package is not installed that it needs beside the extra `train`.
    """
    if found := lacking(model_name):
        raise JobError(f"model_name={model_name} needs {', '.join(found)}; pip install 'maskline[rfdetr]'")


def published_file(size: str) -> Path:
    """Where torch's download cache has the published weights of a model_size of rfdetr_seg."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", f"{cache}/torch")).expanduser()
    return home / "hub/checkpoints" / f"rf-detr-seg-{size.replace('extra_', 'x')}.safetensors"


def has_proposals(model_name: str) -> bool:
    """Whether a model has heads that look at regions that were proposed to them."""
    return kind_of(model_name) == MASK_RCNN


def precisions(model_name: str) -> tuple[str, ...]:
    """Numbers that an ONNX file of a model may compute with."""
    return ("fp32",) if kind_of(model_name) == ONE_STAGE else ("fp32", "fp16", "int8")


def size_of(settings: Sized) -> str:
    """The model_size that a one-stage model has."""
    chosen = settings.model_size
    return USUAL_SIZE if chosen in (None, "none") else str(chosen)


def side_of(settings: Sized) -> int:
    """The side of the square that a one-stage model sees, in pixels."""
    square = SQUARES[size_of(settings)]
    return square.legal(square.side if settings.image_size is None else settings.image_size)


def notes(settings: Sized) -> list[str]:
    """What is done otherwise than the letter of the settings says, and why."""
    if kind_of(settings.model_name) != ONE_STAGE or settings.image_size in (None, side_of(settings)):
        return []
    step = SQUARES[size_of(settings)].step
    return [f"image_size={settings.image_size} is rounded to {side_of(settings)}: a multiple of {step}"]


def foreign(settings: Sized) -> list[str]:
    """Which of the parameters that were set have no meaning for the model, one line each."""
    kind, found = kind_of(settings.model_name), []
    for name in sorted(settings.model_fields_set & set(OWN)):
        value, (owner, instead) = getattr(settings, name), OWN[name]
        if owner == kind or value is None or ASKS_NOTHING.get(name) == value:
            continue
        found.append(
            f"{name} belongs to {owner}, and has no meaning for model_name={settings.model_name}: "
            f"{instead}; remove it, or give each family a sub-space of its own in search_space"
        )
    return found


def beyond(settings: Sized) -> list[str]:
    """What a one-stage model of this size can't do, one line each."""
    if kind_of(settings.model_name) != ONE_STAGE:
        return []
    size = size_of(settings)
    square, found = SQUARES[size], []
    if settings.image_size is not None and settings.image_size < square.least:
        found.append(
            f"image_size={settings.image_size} is too small for model_size={size}, which looks for "
            f"{square.queries} objects, each from another patch of 12 pixels; give at least {square.least}"
        )
    if settings.box_detections_per_image > square.queries:
        found.append(
            f"box_detections_per_image={settings.box_detections_per_image} is above the {square.queries} "
            f"objects that model_size={size} looks for; give at most {square.queries}, or a larger model_size"
        )
    return found
