"""A trained model as one ONNX graph that takes a picture as users have it."""

import json
from importlib.metadata import version
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from maskline.checkpoint import Checkpoint
from maskline.models import family_of
from maskline.models.family import OUTPUTS
from maskline.onnx_model import MOST, PIXEL, SCORE, SOFT_MASKS
from maskline.settings import TrainingSettings
from maskline.tiling import Tiling

from .batch import batched

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

    Args:
        detector: of `build_model`; left on the CPU, in evaluation mode.
        checkpoint: what it says of itself.
    """
    settings, kind = checkpoint.training_settings, graph_kind(checkpoint)
    defaults = {
        SCORE: torch.tensor(settings.box_score_threshold),
        MOST: torch.tensor(settings.box_detections_per_image),
        PIXEL: torch.tensor(settings.advanced.mask_pixel_score_threshold),
    }
    form = "network" if kind == "network" else "picture"
    model = family_of(settings.model_name).graph(detector.cpu().eval(), form, defaults)
    given = {value.name for value in model.graph.input}
    for name, value in defaults.items():
        if name in given:
            model.graph.initializer.append(numpy_helper.from_array(value.numpy(), name))
    return model


def finished(model: onnx.ModelProto, checkpoint: Checkpoint, precision: str = "fp32") -> onnx.ModelProto:
    """A graph as it is delivered: for a batch and with its thresholds baked in where the settings say so.

    Args:
        model: of `export`, or a variant of it.
        checkpoint: whose classes, settings and score go into the metadata.
        precision: of the variant, for the metadata.
    """
    found = onnx.ModelProto()
    found.CopyFrom(model)
    in_boxes = SOFT_MASKS in {output.name for output in model.graph.output}
    # The tensor of soft masks stays in the graph, for whoever asks for it (maskline.onnx_model).
    del found.graph.output[len(OUTPUTS) :]
    kind = graph_kind(checkpoint)
    if kind == "pictures":
        found = batched(found)
    if checkpoint.training_settings.advanced.onnx_thresholds == "fixed":
        _bake(found.graph)
    del found.metadata_props[:]
    onnx.helper.set_model_props(found, _facts(checkpoint, kind, precision, in_boxes))
    onnx.checker.check_model(found, full_check=True)
    return found


def _bake(graph: onnx.GraphProto) -> None:
    """Make constants of the inputs that have a default."""
    given = {initializer.name for initializer in graph.initializer}
    left = [value for value in graph.input if value.name not in given]
    del graph.input[:]
    graph.input.extend(left)


def _tiling(settings: TrainingSettings) -> dict[str, Any] | None:
    """What `Tiling.parse` is to be told by whoever runs the graph; the graph itself takes one view."""
    tiling = Tiling.of(settings)
    if tiling is None:
        return None
    return {"grid": tiling.grid, "overlap": tiling.overlap, "threshold": tiling.threshold}


def _facts(checkpoint: Checkpoint, kind: str, precision: str, in_boxes: bool) -> dict[str, str]:
    """The metadata in the file: texts, most of them JSON."""
    settings = checkpoint.training_settings
    limits = {SCORE: settings.box_score_threshold, MOST: settings.box_detections_per_image}
    return {
        "maskline_version": version("maskline"),
        "kind": kind,
        "input": INPUTS[kind],
        "masks_in_boxes": json.dumps(in_boxes),
        "normalization_inside": json.dumps(kind != "network"),
        "classes": json.dumps(list(checkpoint.classes), ensure_ascii=False),
        "model_name": settings.model_name,
        "settings": json.dumps(checkpoint.settings),
        "thresholds": json.dumps({**limits, PIXEL: settings.advanced.mask_pixel_score_threshold}),
        **{name: str(value) for name, value in family_of(settings.model_name).inference(settings).items()},
        "tiling": json.dumps(_tiling(settings)),
        "precision": precision,
        "epoch": str(checkpoint.epoch),
        "score": str(checkpoint.score),
        "data_digest": checkpoint.digest,
    }
