"""A delivered ONNX file, ready to answer: onnxruntime and numpy, no torch."""

import json
import os
from collections.abc import Callable, Mapping
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import onnx_wire, rle
from .artifacts import MODEL
from .detections import Detections
from .errors import ModelFileError
from .pasting import paste
from .tile_answers import tiled
from .tiling import Tiling

SOFT_MASKS = "soft_masks"
"""Tensor in the graph that holds the small masks before they are laid on the picture."""
SCORE, MOST, PIXEL = "score_threshold", "max_detections", "mask_threshold"
Limits = Mapping[str, float]
_LEGAL: Mapping[str, tuple[str, Callable[[float], bool]]] = {
    SCORE: ("a number from 0 to 1", lambda value: 0 <= value <= 1),
    MOST: ("a whole number from 1 to 100000", lambda value: value in range(1, 100_001)),
    PIXEL: ("a number above 0 and below 1", lambda value: 0 < value < 1),
}


class OnnxModel:
    """A file of `onnx_export`, for pictures one after another, from any number of threads.

    Args:
        path: model.onnx, or a folder that holds it.
        threads: that one picture is computed with; 0 takes all processors.
        providers: of onnxruntime, in order of preference.

    Attributes:
        classes: names of the classes, for label 1, 2 ...
        facts: the file's metadata.
        thresholds: score_threshold, max_detections and mask_threshold that hold unless others are given.
        inputs: which of these may be given.
        tiling: the grid that pictures are cut into, if any; that of the file's metadata until another is set.

    Raises:
        ModelFileError: no file, none of Maskline's, or the network alone; onnxruntime is missing or too old.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int = 0,
        providers: tuple[str, ...] = ("CPUExecutionProvider",),
    ) -> None:
        self.path = Path(path) / MODEL if Path(path).is_dir() else Path(path)
        file = _read(self.path)
        self.facts = _facts(file, self.path)
        try:
            self.classes: tuple[str, ...] = tuple(json.loads(self.facts["classes"]))
            self.thresholds: dict[str, float] = json.loads(self.facts["thresholds"])
            grid = json.loads(self.facts.get("tiling", "null"))
            self.tiling = Tiling.parse(**grid) if grid else None
        except (KeyError, TypeError, ValueError) as error:
            reason = "its metadata hold no classes and thresholds, or a tiling that is none"
            raise ModelFileError(f"{self.path} is no model of Maskline: {reason}") from error
        # Where masks are of the whole picture there are none in boxes.
        in_boxes = self.facts.get("masks_in_boxes", "true") == "true"
        self._lean = self.facts["kind"] == "picture" and in_boxes
        try:
            model, weights = onnx_wire.parts(file, ("masks", SOFT_MASKS) if self._lean else None)
        except ValueError as error:
            raise ModelFileError(f"{self.path} is damaged: {error}; copy or export it anew") from error
        self._session = _session(model, weights, threads, providers, self.path)
        self.inputs = frozenset(value.name for value in self._session.get_overridable_initializers())

    def __call__(self, picture: NDArray[np.uint8], limits: Limits | None = None) -> Detections:
        """What is on an RGB picture, uint8 (H, W, 3), upright; where there is a tiling, also on its tiles.

        Args:
            picture: of 1 x 1 pixels or more.
            limits: values for score_threshold (0 ... 1), max_detections, mask_threshold (0 ... 1).

        Raises:
            ModelFileError: a limit is asked for that is baked into the file.
        """
        if self.tiling is None:
            return self.whole(picture, limits)
        most = int({**self.thresholds, **(limits or {})}[MOST])
        return tiled(lambda view: self.whole(view, limits), picture, self.tiling, most=most)

    def whole(self, picture: NDArray[np.uint8], limits: Limits | None = None) -> Detections:
        """The same with the graph run once, whatever the tiling."""
        height, width = picture.shape[:2]
        limits = limits or {}
        self.check(limits)
        wanted = {**self.thresholds, **limits}
        feed = {name: _scalar(name, wanted[name]) for name in self.inputs & wanted.keys()}
        if self._lean:
            names = ["boxes", "labels", "scores", SOFT_MASKS]
            boxes, labels, scores, soft = self._session.run(names, {**feed, "image": picture})
            masks = paste(soft, boxes, height, width, wanted[PIXEL])
        else:
            names = ["boxes", "labels", "scores", "masks"]
            shown = {"image": picture} if self.facts["kind"] == "picture" else {"images": picture[None]}
            boxes, labels, scores, full = self._session.run(names, {**feed, **shown})
            masks = [rle.encode(mask) for mask in full]
        return Detections(width, height, boxes, labels, scores, masks, self.classes)

    def check(self, limits: Limits) -> None:
        """Whether these limits may be asked for.

        Raises:
            ModelFileError: there is no such limit, its value is out of range, or it is baked into the file.
        """
        for name, value in limits.items():
            if name not in self.thresholds:
                raise ModelFileError(f"{name}={value} is no limit; there are {', '.join(self.thresholds)}")
            legal, holds = _LEGAL[name]
            if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
                raise ModelFileError(f"{name}={value!r} is not legal; give {legal}")
            if name not in self.inputs:
                raise ModelFileError(
                    f"{name}={limits[name]} can't be asked for: {self.thresholds.get(name)} is baked into "
                    f"{self.path}; export with advanced_settings.onnx_thresholds: inputs"
                )


def _scalar(name: str, value: float) -> NDArray[Any]:
    return np.array(value, dtype=np.int64 if name == MOST else np.float32)


def _read(path: Path) -> bytes | mmap:
    """What a file holds, without a copy if it can be so: nearly all is weights, which onnxruntime copies."""
    try:
        with path.open("rb") as stream:
            try:
                return mmap(stream.fileno(), 0, access=ACCESS_READ)
            except (OSError, ValueError):  # a pipe, an empty file, a file system that maps no files
                return stream.read()
    except OSError as error:
        raise ModelFileError(
            f"{path} can't be read: {error.strerror}; name model.onnx or its folder"
        ) from error


def _facts(data: bytes | mmap, path: Path) -> dict[str, str]:
    try:
        facts = onnx_wire.metadata(data)
    except (ValueError, UnicodeDecodeError) as error:
        raise ModelFileError(f"{path} is no ONNX file: {error}") from error
    if "kind" not in facts:
        raise ModelFileError(f"{path} is no model of Maskline: its metadata name no kind")
    if facts["kind"] == "network":
        raise ModelFileError(
            f"{path} is the network alone, which wants its pictures resized and normalised; export the model "
            "with enable_onnx_normalization: true to predict with it"
        )
    return facts


def _session(
    model: bytes, weights: dict[str, memoryview], threads: int, providers: tuple[str, ...], path: Path
) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelFileError("onnxruntime is not installed; pip install 'maskline[predict]'") from error
    options = onnxruntime.SessionOptions()
    if not hasattr(options, "add_external_initializers_from_files_in_memory"):
        raise ModelFileError(
            f"onnxruntime {onnxruntime.__version__} is too old; 1.24.1 or later is needed: "
            "pip install 'maskline[predict]'"
        )
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # it would keep for good what the largest picture ever took
    places, held = list(weights), list(weights.values())
    options.add_external_initializers_from_files_in_memory(places, held, list(map(len, held)))
    try:
        return onnxruntime.InferenceSession(model, options, providers=list(providers))
    except Exception as error:  # onnxruntime has no exceptions of one kind
        raise ModelFileError(f"onnxruntime can't load {path}: {error}") from error
