"""A trained RF-DETR in the two forms that are exported, as ONNX graphs.

The network sees a square of fixed size, so its graph is static, and made by torch's newer exporter: the older
one has no operator for the resizing of the backbone's places. What comes before and after it depends on the
size of the picture; those parts are made by the older exporter, which keeps sizes open. The three are joined
by the names of what they hand over.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

import onnx
import torch
from onnx import compose, helper
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx.operators import shape_as_tensor

from maskline.onnx_model import MOST, SCORE

from .family import OUTPUTS
from .rfdetr import corners, prepared
from .tracing import OPSET, traced

PIXELS, ANSWER = "pixels", ("logits", "pred_boxes", "pred_masks")


def graph(detector: Any, kind: str, limits: Mapping[str, Tensor]) -> onnx.ModelProto:
    """The graph of a detector for one picture, see `Family.graph`."""
    side = detector.side
    pixels = torch.rand(1, 3, side, side)
    with torch.no_grad():
        answer = _Core(detector.network)(pixels)
    given = {**dict(zip(ANSWER, answer, strict=True)), **limits}
    if kind == "network":
        given = {"input": pixels, **{name: limits[name] for name in (SCORE, MOST)}}
        core = _core(detector, pixels, "input")
        after = _traced(
            _NetworkAnswer(), {"input": pixels, **dict(zip(ANSWER, answer, strict=True)), **limits}
        )
        return _joined([core, after], list(given))
    image = torch.randint(0, 255, (240, 320, 3), dtype=torch.uint8)
    before = _traced(_Before(side), {"image": image}, (PIXELS,))
    core = _core(detector, pixels, PIXELS)
    after = _traced(_PictureAnswer(), {"image": image, **given})
    return _joined([before, core, after], ["image", *limits])


class _Core(nn.Module):
    """The network: pixels (1, 3, side, side) -> its answer."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network: Any = network

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        output = self.network(pixels)
        return tuple(getattr(output, name) for name in ANSWER)


class _Before(nn.Module):
    """A picture, uint8 (H, W, 3) -> what the network takes."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, image: Tensor) -> Tensor:
        return prepared(image.permute(2, 0, 1), self.side)[None]


class _PictureAnswer(nn.Module):
    """The network's answer -> that in the picture's coordinates."""

    def forward(
        self,
        image: Tensor,
        logits: Tensor,
        boxes: Tensor,
        masks: Tensor,
        score_threshold: Tensor,
        max_detections: Tensor,
        mask_threshold: Tensor,
    ) -> tuple[Tensor, ...]:
        sides = shape_as_tensor(image)[:2]
        query, label, scores = _best(logits[0], score_threshold, max_detections)
        places = corners(boxes[0][query]) * sides.flip(0).repeat(2).to(torch.float32)
        large = _at_size(masks[0][query], sides).sigmoid()
        return places, label, scores, (large > mask_threshold).to(torch.uint8)


class _NetworkAnswer(nn.Module):
    """The network's answer -> that in coordinates of its own square."""

    def forward(
        self,
        input: Tensor,
        logits: Tensor,
        boxes: Tensor,
        masks: Tensor,
        score_threshold: Tensor,
        max_detections: Tensor,
        mask_threshold: Tensor,
    ) -> tuple[Tensor, ...]:
        sides = shape_as_tensor(input)[-2:]
        query, label, scores = _best(logits[0], score_threshold, max_detections)
        places = corners(boxes[0][query]) * sides.flip(0).repeat(2).to(torch.float32)
        return places, label, scores, _at_size(masks[0][query], sides).sigmoid()[:, None]


def _best(logits: Tensor, score_threshold: Tensor, most: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, labels and scores of what is found, best first."""
    count = logits.shape[0] * logits.shape[1]
    classes = logits.shape[1]
    scores, best = logits.sigmoid().flatten().topk(int(count))
    kept = (scores > score_threshold) & (torch.arange(int(count)) < most)
    scores, best = scores[kept], best[kept]
    return best // classes, best % classes + 1, scores


def _at_size(masks: Tensor, sides: Tensor) -> Tensor:
    size: Any = [sides[0], sides[1]]
    return functional.interpolate(masks[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _core(detector: Any, pixels: Tensor, name: str) -> onnx.ModelProto:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            _Core(detector.network).eval(),
            (pixels,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[name],
            output_names=list(ANSWER),
            verbose=False,
        )
    assert program is not None
    found: onnx.ModelProto = program.model_proto
    return found


def _traced(
    model: nn.Module, given: Mapping[str, Tensor], outputs: tuple[str, ...] = OUTPUTS
) -> onnx.ModelProto:
    open_sides = {
        "image": {0: "height", 1: "width"},
        "masks": {0: "n"} if "input" in given else {0: "n", 1: "height", 2: "width"},
        **{output: {0: "n"} for output in OUTPUTS if output != "masks"},
    }
    return traced(model, given, outputs, open_sides)


def _joined(parts: list[onnx.ModelProto], inputs: list[str]) -> onnx.ModelProto:
    """Graphs one after another: what one gives is what a later one takes, by name."""
    named = [
        compose.add_prefix(part, f"part{number}/", rename_inputs=False, rename_outputs=False).graph
        for number, part in enumerate(parts)
    ]
    taken = {value.name: value for part in named for value in part.input}
    joined = helper.make_graph(
        [node for part in named for node in part.node],
        "rfdetr",
        [taken[name] for name in inputs],
        list(named[-1].output),
        [one for part in named for one in part.initializer],
    )
    found = helper.make_model(joined, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    found.producer_name, found.producer_version = "pytorch", torch.__version__
    return found
