"""A model as an ONNX graph, by torch's TorchScript-based exporter, which keeps the sizes of pictures open."""

import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from torch import Tensor, nn

OPSET = 18
"""Of all graphs: the first one whose Resize smooths."""


def traced(
    model: nn.Module,
    given: Mapping[str, Tensor],
    outputs: Sequence[str],
    open_sides: Mapping[str, Mapping[int, str]],
) -> onnx.ModelProto:
    """The graph of what a model does with an example.

    Args:
        model: is left in evaluation mode.
        given: the example: inputs by name, in the order of the model's arguments.
        outputs: names of the model's results.
        open_sides: the names of dimensions that aren't fixed by the example, by input or output and place;
            what is neither an input nor an output is left out.
    """
    stream = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings(), _smoothing():
        # Tracing warns of every Python number it meets; the parity check shows what they are worth.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            tuple(given.values()),
            stream,  # type: ignore[arg-type]  # a file will do, its type information says otherwise
            opset_version=OPSET,
            dynamo=False,
            input_names=list(given),
            output_names=list(outputs),
            dynamic_axes={key: value for key, value in open_sides.items() if key in (*given, *outputs)},
        )
    return onnx.load_model_from_string(stream.getvalue())


@contextmanager
def _smoothing() -> Iterator[None]:
    """Let the exporter know, while it traces, how `maskline.resampling` smooths; it has no rule for it."""
    name, exporter = "aten::_upsample_bilinear2d_aa", torch.onnx.utils
    exporter.register_custom_op_symbolic(name, _resize, OPSET)
    try:
        yield
    finally:
        exporter.unregister_custom_op_symbolic(name, OPSET)


def _resize(graph: Any, picture: Any, size: Any, align_corners: Any, factors: Any) -> Any:
    """Neither torch nor this counts what lies beyond the edge: the weights inside add up to 1."""
    none = graph.op("Constant", value_t=torch.tensor([]))
    how = {"mode_s": "linear", "antialias_i": 1, "exclude_outside_i": 1}
    return graph.op("Resize", picture, none, none, size, axes_i=[2, 3], **how)
