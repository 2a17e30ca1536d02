"""Does the ONNX graph give the model's answer? Measured on real pictures."""

import copy
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from maskline import rle
from maskline.errors import ParityError
from maskline.models import family_of
from maskline.models.family import OUTPUTS
from maskline.onnx_model import PIXEL, SCORE
from maskline.pictures import open_upright

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
        mask_iou: smallest IoU of two masks of one detection, both laid into the graph's box where their own
            boxes tell a difference: see `Model.masks_in`.
        breach: the rule that doesn't hold; empty when all do.
        seconds: CPU time of the graph.
    """

    file: str
    width: int
    height: int
    detections: int
    score: float = 0.0
    box: float = 0.0
    mask_iou: float = 1.0
    breach: str = ""
    seconds: float = 0.0


class Graph:
    """An exported graph, ready to answer.

    Attributes:
        kind: what it takes, see INPUTS of export.
        thresholds: the defaults of its limits.
        family: of the model that it was made from.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        facts = self._session.get_modelmeta().custom_metadata_map
        self.kind: str = facts["kind"]
        self.family = family_of(facts["model_name"])
        self.thresholds: dict[str, float] = json.loads(facts["thresholds"])
        self.open = {value.name for value in self._session.get_overridable_initializers()}

    def __call__(self, picture: NDArray[Any], score: float | None = None) -> Answer:
        """The answer on what the graph takes: a picture (H, W, 3), or the network's input (1, 3, H, W)."""
        feed: dict[str, NDArray[Any]] = {
            "picture": {"image": picture},
            "pictures": {"images": picture[None]},
            "network": {"input": picture},
        }[self.kind]
        if score is not None and SCORE in self.open:
            feed[SCORE] = np.array(score, dtype=np.float32)
        answer = dict(zip(OUTPUTS, self._session.run(list(OUTPUTS), feed), strict=True))
        if self.kind == "network":
            answer["masks"] = (answer["masks"][:, 0] > self.thresholds[PIXEL]).astype(np.uint8)
        return answer


class Model:
    """A detector as torch runs it, and its answer on one picture.

    Args:
        detector: what was exported, on the CPU, in evaluation mode, in 32 or 64 bits.
        graph: the exported graph, which says in what form a picture is compared.
        picture: uint8 (H, W, 3).
        threshold: of scores.
    """

    def __init__(
        self, detector: nn.Module, graph: Graph, picture: NDArray[np.uint8], threshold: float
    ) -> None:
        self._detector, self._graph, self._threshold = detector, graph, threshold
        kind = next((own.dtype for own in detector.parameters()), torch.float32)
        self._image = torch.from_numpy(picture).permute(2, 0, 1).to(kind) / 255
        seen, found = self._run(small_masks=False)
        self.given: NDArray[Any] = picture if seen is None else seen
        self._height, self._width = found["masks"].shape[-2:]
        soft, pixel = found["masks"][:, 0], graph.thresholds[PIXEL]
        self.answer: Answer = {name: found[name].numpy() for name in ("boxes", "labels", "scores")}
        self.answer["masks"] = (soft > pixel).to(torch.uint8).numpy()
        self.sure: NDArray[np.bool_] = ((soft - pixel).abs() >= MASK_MARGIN).numpy()

    def _run(self, *, small_masks: bool) -> tuple[NDArray[Any] | None, dict[str, Tensor]]:
        family = self._graph.family
        with (
            torch.inference_mode(),
            family.reporting(self._detector, self._threshold, small_masks=small_masks),
        ):
            if self._graph.kind != "network":
                return None, self._detector([self._image])[0]
            seen, found = family.seen(self._detector, self._image)
            return seen[None].numpy(), found

    def masks_in(
        self, boxes: NDArray[np.float32], places: Sequence[int]
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """The masks of some detections as they are in other boxes, and which pixels are clearly in or out.

        torchvision lays a mask into whole pixels, and cuts the fractions of its box off: an edge that is at
        a whole number to within rounding may fall to either side of it, in torch itself on another
        processor too, and the mask is then wider by a pixel, a tenth of a small one. How far boxes may
        differ has its own rule; masks are compared in the same box.

        Args:
            boxes: (n, 4) x1 y1 x2 y2, of the graph.
            places: of the n detections in this model's answer.
        """
        _, found = self._run(small_masks=True)
        small = {name: values[list(places)] for name, values in found.items()}
        small["boxes"] = torch.from_numpy(boxes)
        pixel = self._graph.thresholds[PIXEL]

        def above(threshold: float) -> NDArray[np.uint8]:
            results = self._graph.family.results(small, 0, self._height, self._width, threshold)
            return np.stack([rle.decode(one["segmentation"]) for one in results])

        sure = above(max(pixel - MASK_MARGIN, pixel / 2)) == above(min(pixel + MASK_MARGIN, (1 + pixel) / 2))
        return above(pixel), sure


def measure(detector: nn.Module, graph: Graph, files: Sequence[str], threshold: float) -> list[PictureParity]:
    """Compare a detector, as torch runs it, and its graph on pictures.

    Args:
        detector: what was exported, on the CPU, in evaluation mode.
        graph: the exported graph.
        files: pictures.
        threshold: of scores, for both; the graph's own where that is baked in.
    """
    return [_compare(detector, graph, file, threshold) for file in files]


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


def _compare(detector: nn.Module, graph: Graph, file: str, threshold: float) -> PictureParity:
    picture = np.array(open_upright(file))
    height, width = picture.shape[:2]
    model = Model(detector, graph, picture, threshold)
    began = time.process_time()
    got = graph(model.given, threshold)
    seconds = time.process_time() - began
    judged = _judged(file, (width, height), model, got, threshold)
    if judged.breach:
        # torch's own rounding may be all that differs: where features are large, as of a model that has
        # hardly been trained, its scores are as far from the model's in 64 bits as the rule allows.
        model = Model(copy.deepcopy(detector).double(), graph, picture, threshold)
        judged = _judged(file, (width, height), model, got, threshold)
    return replace(judged, seconds=seconds)


def _judged(file: str, size: tuple[int, int], model: Model, got: Answer, threshold: float) -> PictureParity:
    expected = model.answer
    pairs, alone = _pairs(expected, got)
    clear = [score for score in alone if score > threshold + SCORE_TOLERANCE]
    if not pairs:
        breach = f"{len(clear)} detections are in one answer only" if clear else ""
        return PictureParity(file, *size, 0, breach=breach)
    ours, theirs = (np.array(side) for side in zip(*pairs, strict=True))
    score = float(np.abs(expected["scores"][ours] - got["scores"][theirs]).max())
    box = float(np.abs(expected["boxes"][ours] - got["boxes"][theirs]).max())
    allowed = BOX_PIXELS + BOX_SHARE * max(size)
    ious = [_iou(expected["masks"][i], got["masks"][j], model.sure[i]) for i, j in pairs]
    if 0 < box <= allowed and min(ious) < LEAST_MASK_IOU:
        masks, sure = model.masks_in(got["boxes"][theirs], ours.tolist())
        ious = [
            max(before, _iou(masks[n], got["masks"][theirs[n]], sure[n])) for n, before in enumerate(ious)
        ]
    iou = min(ious)
    rules = [
        (not clear, f"{len(clear)} detections are in one answer only"),
        (score <= SCORE_TOLERANCE, f"scores differ by {score:.2g}, allowed {SCORE_TOLERANCE:g}"),
        (box <= allowed, f"boxes differ by {box:.3g} px, allowed {allowed:.3g}"),
        (iou >= LEAST_MASK_IOU, f"a mask's IoU is {iou:.4f}, required {LEAST_MASK_IOU}"),
    ]
    breach = "; ".join(text for holds, text in rules if not holds)
    return PictureParity(file, *size, len(pairs), score, box, iou, breach)


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
