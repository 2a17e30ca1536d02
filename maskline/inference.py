"""Pictures -> what a delivered model finds on them, one after another, on all processors; no torch."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .detections import Detections
from .errors import DataError, MasklineError
from .onnx_model import Limits, OnnxModel
from .pictures import SUFFIXES, open_upright

Picture = str | os.PathLike[str] | bytes | NDArray[np.uint8]
"""A file, its bytes, or an upright RGB picture (H, W, 3)."""
_AHEAD = 2
"""Pictures in work for each processor, so that none waits while answers are written."""


@dataclass(frozen=True)
class Prediction:
    """The answer on one picture.

    Attributes:
        name: the file's path; `picture N`, from 0, where there is none.
        detections: what was found; None where the picture can't be read.
        error: why it can't be read, in one line; empty otherwise.
    """

    name: str
    detections: Detections | None
    error: str = ""


def predict(
    model: str | os.PathLike[str] | OnnxModel,
    pictures: Picture | Iterable[Picture],
    *,
    workers: int | None = None,
    **limits: float,
) -> Iterator[Prediction]:
    """What a model finds on pictures, in their order, each as soon as it is known.

    Pictures are read upright (EXIF), as in training. One that can't be read has an answer too, with the
    reason, and doesn't stop the others. A few pictures are held in memory at a time.

        for answer in maskline.predict("runs/first/model.onnx", ["a.jpg", "b.jpg"], score_threshold=0.5):
            print(answer.name, answer.detections)

    Args:
        model: model.onnx, a folder that holds it, or a model that is loaded already.
        pictures: files, folders of files, bytes of files, or arrays uint8 (H, W, 3), RGB; one or several.
        workers: pictures in work at a time; None takes a processor each.
        limits: score_threshold (0 ... 1), max_detections, mask_threshold (0 ... 1), in place of the file's.

    Raises:
        ModelFileError: the model can't be loaded, or a limit is baked into it.
        DataError: a folder or file is not there.
    """
    stream = iter(_several(pictures))
    first = list(islice(stream, 2))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    alone = len(first) < 2
    number = 1 if alone else workers or cores
    if not isinstance(model, OnnxModel):
        # One picture gets all processors; of several, each gets one.
        model = OnnxModel(model, threads=max(1, cores // number))
    model.check(limits)
    return _ordered(model, chain(first, stream), number, limits)


def _ordered(model: OnnxModel, pictures: Iterable[Any], workers: int, limits: Limits) -> Iterator[Prediction]:
    waiting: deque[Future[Prediction]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="predict")
    try:
        for number, picture in enumerate(pictures):
            waiting.append(pool.submit(_answer, model, picture, number, limits))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _answer(model: OnnxModel, picture: Picture, number: int, limits: Limits) -> Prediction:
    name = os.fspath(picture) if isinstance(picture, str | os.PathLike) else f"picture {number}"
    try:
        return Prediction(name, model(_pixels(picture), limits))
    except MasklineError as error:
        return Prediction(name, None, str(error))


def _pixels(picture: Picture) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise DataError(
                f"an array of {picture.dtype} {picture.shape} is no picture; give uint8 (height, width, 3)"
            )
        return picture
    source = BytesIO(picture) if isinstance(picture, bytes | bytearray) else picture
    return np.asarray(open_upright(source))


def _several(pictures: Picture | Iterable[Picture]) -> Iterator[Picture]:
    if isinstance(pictures, str | os.PathLike | bytes | bytearray | np.ndarray):
        pictures = [pictures]
    for picture in pictures:
        if isinstance(picture, str | os.PathLike):
            yield from files_of(picture)
        else:
            yield picture


def files_of(place: str | os.PathLike[str]) -> list[Path]:
    """A file itself, or all pictures below a folder by name.

    Raises:
        DataError: there is nothing, or the folder holds no picture.
    """
    path = Path(place)
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
    if not found:
        raise DataError(f"{path} holds no picture; names end in {', '.join(sorted(SUFFIXES))}")
    return found
