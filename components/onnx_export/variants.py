"""The same graph with smaller numbers or fewer regions: size, time and AP beside those of the whole one."""

import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from maskline.answers import coco_annotations
from maskline.checkpoint import Checkpoint
from maskline.dataset import PreparedDataset
from maskline.metrics import coco_evaluation
from maskline.onnx_model import SCORE, OnnxModel
from maskline.pictures import open_upright

from .export import finished
from .half import halved, is_exact

CALIBRATION = 32
"""Training pictures that the ranges of int8 are taken from."""
JUDGED = 100
"""Pictures of the evaluation part that AP is measured on, at the most."""
TOO_FINE_FOR_INT8 = ("/rpn/", "/body/conv1/", "/body/layer1/", "/fpn/inner_blocks")
"""In the names of layers whose errors in 8 bits all others would inherit: what proposes regions, and what the
maps are made of; most of what 8 bits would cost in AP."""


@dataclass(frozen=True)
class Form:
    """A graph and what was done to it.

    Attributes:
        model: of `export` or `converted`.
        precision: fp32, fp16 or int8.
        proposals: that it is limited to; None is the model's own number.
    """

    model: onnx.ModelProto
    precision: str
    proposals: int | None = None


@dataclass(frozen=True)
class Variant:
    """A row of the table.

    Attributes:
        form: the graph.
        megabytes: of the file, in 10**6 bytes.
        seconds: median CPU time of a picture, one thread, decoding excluded.
        mask_AP, box_AP: COCO's AP, 0.50:0.95; None where it was not measured.
        pictures: that these come from.
        delivered: whether this is the file that is handed out.
    """

    form: Form
    megabytes: float
    seconds: float
    mask_AP: float | None
    box_AP: float | None
    pictures: int
    delivered: bool


def converted(model: onnx.ModelProto, precision: str, data: PreparedDataset) -> onnx.ModelProto:
    """The graph in another precision, with the same inputs and outputs.

    fp16: weights and arithmetic of the layers; boxes, scores and pictures stay in 32 bits, since 16 have a
    step of half a pixel from 512 on. int8: convolutions and fully connected layers but the heads' last and
    TOO_FINE_FOR_INT8, ranges taken from training pictures (static quantisation), weights channel by channel.

    Args:
        model: of `export`, for a picture.
        precision: fp16 or int8.
        data: the prepared data set.
    """
    if precision == "fp16":
        return halved(_named(model))
    images = data.coco("train")["images"][:CALIBRATION]
    return quantised(model, (np.asarray(open_upright(image["file_name"])) for image in images))


def judge(
    form: Form, checkpoint: Checkpoint, data: PreparedDataset, delivered: bool, *, most: int = JUDGED
) -> Variant:
    """A row of the table, measured on pictures of the evaluation part, `most` at the most."""
    settings = checkpoint.training_settings
    coco = data.coco(data.evaluation_split)
    images = coco["images"][:most]
    ids = {image["id"] for image in images}
    truth = {
        **coco,
        "images": images,
        "annotations": [one for one in coco["annotations"] if one["image_id"] in ids],
    }
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        size = save(form, checkpoint, Path(folder) / "one.onnx")
        answer_to = OnnxModel(Path(folder) / "one.onnx", threads=1)
        low = {SCORE: settings.advanced.metric_score_threshold} if SCORE in answer_to.inputs else {}
        seconds = []
        for image in images:
            picture = np.asarray(open_upright(image["file_name"]))
            began = time.process_time()
            answer = answer_to(picture, low)
            seconds.append(time.process_time() - began)
            found += coco_annotations(answer, image["id"])
    mask, box = (coco_evaluation(truth, found, kind).summary["AP"] for kind in ("segm", "bbox"))
    return Variant(form, size / 1e6, float(np.median(seconds)), mask, box, len(images), delivered)


def save(form: Form, checkpoint: Checkpoint, path: Path) -> int:
    """Write the finished graph; returns its bytes."""
    onnx.save(finished(form.model, checkpoint, form.precision), path)
    return path.stat().st_size


def _named(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which every node has a name of its own."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    for number, node in enumerate(found.graph.node):
        node.name = node.name or f"node_{number}"
    return found


class _Pictures:
    """Pictures for onnxruntime's calibration, one at a time."""

    def __init__(self, pictures: Iterable[NDArray[np.uint8]]) -> None:
        self._stream = ({"image": picture} for picture in pictures)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        """The next picture as the graph's input; None at the end."""
        return next(self._stream, None)


def quantised(model: onnx.ModelProto, pictures: Iterable[NDArray[np.uint8]]) -> onnx.ModelProto:
    """The graph in 8 bits; pictures, uint8 (H, W, 3), show what ranges its values have."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "fused.onnx", Path(folder) / "int8.onnx"
        # Batch normalisation goes into the convolutions first: else its factors would have to be quantised.
        quant_pre_process(_named(model), str(before), skip_onnx_shape=True, skip_symbolic_shape=True)
        nodes = onnx.load(before).graph.node
        exact = [
            node.name
            for node in nodes
            if is_exact(node) or any(part in node.name for part in TOO_FINE_FOR_INT8)
        ]
        quantize_static(
            str(before),
            str(after),
            _Pictures(pictures),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "Gemm"],
            nodes_to_exclude=exact,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # The widest range of all pictures: averaged ranges cut peaks off, at seven points of mask AP.
            calibrate_method=CalibrationMethod.MinMax,
            # Boxes are small numbers, read from the answers of fully connected layers: these stay in 32 bits.
            extra_options={"OpTypesToExcludeOutputQuantization": ["Gemm"]},
        )
        return onnx.load(after)
