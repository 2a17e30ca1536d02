"""Does the ONNX graph give the model's answer? Measured on real pictures."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from maskline.errors import ParityError
from maskline.pictures import open_upright

from .export import OUTPUTS, PictureModel

SCORE_TOLERANCE = 1e-4
BOX_PIXELS = 0.01
BOX_SHARE = 1e-4
"""A box edge may differ by BOX_PIXELS plus this share of the picture's longer side."""
LEAST_MASK_IOU = 0.999
MASK_MARGIN = 1e-3
"""Pixels whose probability is this close to the threshold may fall on either side, and are left out."""

Answer = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class PictureParity:
    """How far apart the two answers on one picture are.

    Attributes:
        file: the picture; width, height: its size in pixels.
        detections: found by both. A detection whose score is within the tolerance of the threshold may be
            in one answer only, and is left out.
        score: largest difference of scores.
        box: largest difference of box edges, in pixels.
        mask_iou: smallest IoU of two masks of one detection.
        breach: the rule that doesn't hold; empty when all do.
    """

    file: str
    width: int
    height: int
    detections: int
    score: float = 0.0
    box: float = 0.0
    mask_iou: float = 1.0
    breach: str = ""


class Graph:
    """An exported file, ready to answer."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def __call__(self, picture: NDArray[np.uint8]) -> Answer:
        """The answer on an RGB picture, uint8 (H, W, 3): see PictureModel."""
        return dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), {"image": picture}), strict=True))


def measure(
    model: PictureModel, graph: Graph, files: Sequence[str], score_threshold: float
) -> list[PictureParity]:
    """Compare model and graph on pictures.

    Args:
        model: the model that was exported.
        graph: the exported graph.
        files: pictures.
        score_threshold: the graph's.
    """
    return [_compare(model, graph, file, score_threshold) for file in files]


def require(measured: Sequence[PictureParity]) -> None:
    """Raise ParityError for the first picture on which the two answers differ."""
    for one in measured:
        if one.breach:
            raise ParityError(
                f"the ONNX graph doesn't agree with the model on {one.file}: {one.breach}; "
                "the graph is not to be used: report it with the picture and the checkpoint"
            )


def as_json(measured: Sequence[PictureParity]) -> dict[str, Any]:
    """The table of the report, with the tolerances."""
    return {
        "tolerances": {
            "score": SCORE_TOLERANCE,
            "box": f"{BOX_PIXELS} px + {BOX_SHARE} of the longer side",
            "mask_iou": LEAST_MASK_IOU,
        },
        "detections": sum(one.detections for one in measured),
        "pictures": [asdict(one) for one in measured],
    }


def _compare(model: PictureModel, graph: Graph, file: str, threshold: float) -> PictureParity:
    picture = np.asarray(open_upright(file))
    height, width = picture.shape[:2]
    expected, unsure = _expected(model, picture)
    got = graph(picture)
    pairs, alone = _pairs(expected, got)
    clear = [score for score in alone if score > threshold + SCORE_TOLERANCE]
    if not pairs:
        breach = f"{len(clear)} detections are in one answer only" if clear else ""
        return PictureParity(file, width, height, 0, breach=breach)
    ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    score = float(np.abs(expected["scores"][ours] - got["scores"][theirs]).max())
    box = float(np.abs(expected["boxes"][ours] - got["boxes"][theirs]).max())
    iou = min(_iou(expected["masks"][i], got["masks"][j], ~unsure[i]) for i, j in pairs)
    allowed = BOX_PIXELS + BOX_SHARE * max(width, height)
    rules = [
        (not clear, f"{len(clear)} detections are in one answer only"),
        (score <= SCORE_TOLERANCE, f"scores differ by {score:.2g}, allowed {SCORE_TOLERANCE:g}"),
        (box <= allowed, f"boxes differ by {box:.3g} px, allowed {allowed:.3g}"),
        (iou >= LEAST_MASK_IOU, f"a mask's IoU is {iou:.4f}, required {LEAST_MASK_IOU}"),
    ]
    breach = "; ".join(text for holds, text in rules if not holds)
    return PictureParity(file, width, height, len(pairs), score, box, iou, breach)


def _expected(model: PictureModel, picture: NDArray[np.uint8]) -> tuple[Answer, NDArray[np.bool_]]:
    """The model's answer, and the pixels (n, H, W) of its masks that are all but on the threshold."""
    with torch.inference_mode():
        boxes, labels, scores, soft = model.soft(torch.from_numpy(picture.copy()))
    answer = (boxes, labels, scores, (soft > model.mask_threshold).to(torch.uint8))
    unsure: NDArray[np.bool_] = ((soft - model.mask_threshold).abs() < MASK_MARGIN).numpy()
    return dict(zip(OUTPUTS, (tensor.numpy() for tensor in answer), strict=True)), unsure


def _pairs(expected: Answer, got: Answer) -> tuple[list[tuple[int, int]], list[float]]:
    """Detections of one label at one place in both answers, and the scores of those in one only.

    Two detections with all but equal scores may change places, so the order is no guide.
    """
    free = set(range(len(got["scores"])))
    pairs, alone = [], []
    for i, (box, label) in enumerate(zip(expected["boxes"], expected["labels"], strict=True)):
        near = [j for j in free if got["labels"][j] == label]
        j = min(near, key=lambda j: float(np.abs(got["boxes"][j] - box).max()), default=None)
        if j is None or np.abs(got["boxes"][j] - box).max() > 1:
            alone.append(float(expected["scores"][i]))
        else:
            free.remove(j)
            pairs.append((i, j))
    return pairs, alone + [float(got["scores"][j]) for j in free]


def _iou(one: NDArray[np.uint8], other: NDArray[np.uint8], counted: NDArray[np.bool_]) -> float:
    union = (np.logical_or(one, other) & counted).sum()
    return float((np.logical_and(one, other) & counted).sum() / union) if union else 1.0
