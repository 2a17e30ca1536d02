"""A trained model as one ONNX graph that takes a picture as users have it."""

import io
import json
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from maskline.checkpoint import Checkpoint
from maskline.onnx_model import MOST, PIXEL, SCORE, SOFT_MASKS

from .batch import batched
from .network import NetworkAlone, PictureModel

OPSET = 17
PROPOSALS = "max_proposals"
OUTPUTS = ("boxes", "labels", "scores", "masks")
INPUTS = {
    "picture": "image: uint8 (height, width, 3), RGB, upright, any size",
    "pictures": "images: uint8 (pictures, height, width, 3), RGB, upright, of one size; image_index tells "
    "the picture of a detection",
    "network": "input: float32 (1, 3, height, width), RGB, resized, divided by 255, less the mean, divided "
    "by the standard deviation; boxes and masks are at its size, masks are probabilities",
}
"""What `input` of the metadata says, by the kind of graph."""


def graph_kind(checkpoint: Checkpoint) -> str:
    """`picture`, `pictures` or `network`, as the settings ask for it."""
    settings = checkpoint.training_settings
    if not settings.enable_onnx_normalization:
        return "network"
    return "pictures" if settings.advanced.onnx_batch else "picture"


def export(detector: nn.Module, checkpoint: Checkpoint) -> onnx.ModelProto:
    """The graph of a detector for one picture, dynamic in its size, valid ONNX, in 32 bits.

    Thresholds and the most detections are inputs with defaults. `finished` makes of it what is delivered.
    torch's newer exporter can't yet translate torchvision's non-maximum suppression, whose control flow
    depends on the number of boxes; the TorchScript-based one can.

    Args:
        detector: of `build_model`; left on the CPU, in evaluation mode.
        checkpoint: what it says of itself.
    """
    settings = checkpoint.training_settings
    defaults = {
        SCORE: torch.tensor(settings.box_score_threshold),
        MOST: torch.tensor(settings.box_detections_per_image),
        PIXEL: torch.tensor(settings.advanced.mask_pixel_score_threshold),
    }
    detector.cpu().eval()
    if graph_kind(checkpoint) == "network":
        del defaults[PIXEL]
        model = _traced(NetworkAlone(detector), "input", torch.rand(1, 3, 240, 320), defaults, OUTPUTS)
    else:
        example = torch.randint(0, 255, (240, 320, 3), dtype=torch.uint8)
        model = _traced(PictureModel(detector), "image", example, defaults, (*OUTPUTS, SOFT_MASKS))
    proposals = torch.tensor(detector.rpn.post_nms_top_n())  # type: ignore[operator, union-attr]
    for name, value in {**defaults, PROPOSALS: proposals}.items():
        model.graph.initializer.append(numpy_helper.from_array(value.numpy(), name))
    _end_suppression_early(model.graph)
    return model


def _end_suppression_early(graph: onnx.GraphProto) -> None:
    """Let non-maximum suppression end when it has as many boxes as are kept of it.

    It takes boxes by falling score, so that the first ones stay the same. Without this it goes on through all
    boxes of all classes, at a cost that grows with their square, and what is too much is cut off afterwards.
    """
    found = list(_suppressions(graph))
    if len(found) != 2:
        raise RuntimeError(
            f"{len(found)} non-maximum suppressions in the graph instead of proposals' and boxes'"
        )
    for node, most in zip(found, (PROPOSALS, MOST), strict=True):
        node.input[2] = most


def _suppressions(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        if node.op_type == "NonMaxSuppression":
            yield node
        for attribute in node.attribute:
            yield from _suppressions(attribute.g)


def finished(model: onnx.ModelProto, checkpoint: Checkpoint, precision: str = "fp32") -> onnx.ModelProto:
    """A graph as it is delivered: for a batch and with its thresholds baked in where the settings say so.

    Args:
        model: of `export`, or a variant of it.
        checkpoint: whose classes, settings and score go into the metadata.
        precision: of the variant, for the metadata.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    # The tensor of soft masks stays in the graph, for whoever asks for it (maskline.onnx_model).
    del found.graph.output[len(OUTPUTS) :]
    kind = graph_kind(checkpoint)
    if kind == "pictures":
        found = batched(found)
    if checkpoint.training_settings.advanced.onnx_thresholds == "fixed":
        _bake(found.graph)
    del found.metadata_props[:]
    onnx.helper.set_model_props(found, _facts(checkpoint, kind, precision))
    onnx.checker.check_model(found, full_check=True)
    return found


def _bake(graph: onnx.GraphProto) -> None:
    """Make constants of the inputs that have a default."""
    given = {initializer.name for initializer in graph.initializer}
    left = [value for value in graph.input if value.name not in given]
    del graph.input[:]
    graph.input.extend(left)


def _traced(
    model: nn.Module, name: str, example: torch.Tensor, limits: dict[str, Any], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    stream = io.BytesIO()
    axes = {
        "image": {0: "height", 1: "width"},
        "input": {2: "height", 3: "width"},
        "masks": {0: "n", 1: "height", 2: "width"} if name == "image" else {0: "n", 2: "height", 3: "width"},
        **{output: {0: "n"} for output in outputs if output != "masks"},
    }
    with torch.no_grad(), warnings.catch_warnings():
        # Tracing warns of every Python number it meets; the parity check shows what they are worth.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (example, *limits.values()),
            stream,  # type: ignore[arg-type]  # a file will do, its type information says otherwise
            opset_version=OPSET,
            dynamo=False,
            input_names=[name, *limits],
            output_names=list(outputs),
            dynamic_axes={key: value for key, value in axes.items() if key in (name, *outputs)},
        )
    return onnx.load_model_from_string(stream.getvalue())


def _facts(checkpoint: Checkpoint, kind: str, precision: str) -> dict[str, str]:
    """The metadata in the file: texts, most of them JSON."""
    settings = checkpoint.training_settings
    limits = {SCORE: settings.box_score_threshold, MOST: settings.box_detections_per_image}
    return {
        "maskline_version": version("maskline"),
        "kind": kind,
        "input": INPUTS[kind],
        "normalization_inside": json.dumps(kind != "network"),
        "classes": json.dumps(list(checkpoint.classes), ensure_ascii=False),
        "model_name": settings.model_name,
        "settings": json.dumps(checkpoint.settings),
        "thresholds": json.dumps({**limits, PIXEL: settings.advanced.mask_pixel_score_threshold}),
        "nms_iou_threshold": str(settings.nms_iou_threshold),
        "precision": precision,
        "epoch": str(checkpoint.epoch),
        "score": str(checkpoint.score),
        "data_digest": checkpoint.digest,
    }
