"""Several pictures in one call: the graph of one picture, in a loop of the graph's own."""

import onnx
from onnx import TensorProto, helper

PICTURES, INDEX = "images", "image_index"
_TYPES: dict[str, tuple[int, tuple[int | None, ...], list[str | int | None]]] = {
    "boxes": (TensorProto.FLOAT, (0, 4), ["m", 4]),
    "labels": (TensorProto.INT64, (0,), ["m"]),
    "scores": (TensorProto.FLOAT, (0,), ["m"]),
    "masks": (TensorProto.UINT8, (0, None, None), ["m", "height", "width"]),
    INDEX: (TensorProto.INT64, (0,), ["m"]),
}
"""Of each output: element type, shape before the first picture (None is the pictures' side), final shape."""


def batched(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with an input `images` uint8 (N, H, W, 3), N open, and a further output `image_index` (m,).

    The detections of all pictures stand one after another; image_index, from 0, tells whose each is. Each
    picture's answer is that of the graph for one, to rounding: the same nodes work on one after another. The
    weights are in the file once.
    """
    body = _body(model.graph)
    nodes, values = _start()
    states = [f"{name}_before" for name in _TYPES]
    loop = helper.make_node("Loop", ["picture_count", "", *states], list(_TYPES), name="pictures", body=body)
    limits = [value for value in model.graph.input if value.name != "image"]
    images = helper.make_tensor_value_info(PICTURES, TensorProto.UINT8, ["pictures", "height", "width", 3])
    outputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, _, shape) in _TYPES.items()]
    graph = helper.make_graph([*nodes, loop], model.graph.name, [images, *limits], outputs)
    graph.initializer.extend(model.graph.initializer)
    graph.initializer.extend(values)
    found = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    found.producer_name, found.producer_version = model.producer_name, model.producer_version
    return found


def _start() -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """The number of pictures, and empty answers that those of the pictures are appended to."""

    def integers(name: str, *values: int) -> onnx.TensorProto:
        return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)

    constants = [integers("at_0", 0), integers("at_1", 1), integers("at_3", 3)]
    nodes = [
        helper.make_node("Shape", [PICTURES], ["pictures_shape"]),
        helper.make_node("Gather", ["pictures_shape", "at_0"], ["picture_count_1"]),
        helper.make_node("Squeeze", ["picture_count_1"], ["picture_count"]),
        helper.make_node("Slice", ["pictures_shape", "at_1", "at_3"], ["picture_sides"]),
        helper.make_node("Concat", ["at_0", "picture_sides"], ["no_masks"], axis=0),
    ]
    for name, (kind, shape, _) in _TYPES.items():
        size = "no_masks" if None in shape else f"{name}_none"
        if size != "no_masks":
            constants.append(integers(size, *(side or 0 for side in shape)))
        empty = helper.make_tensor("value", kind, [1], [0])
        nodes.append(helper.make_node("ConstantOfShape", [size], [f"{name}_before"], value=empty))
    return nodes, constants


def _body(graph: onnx.GraphProto) -> onnx.GraphProto:
    """One turn of the loop: take a picture, answer, append."""
    outputs = {output.name for output in graph.output}
    nodes = [helper.make_node("Gather", [PICTURES, "turn"], ["image"], axis=0)]
    nodes += [_renamed(node, outputs) for node in graph.node]
    nodes += [
        helper.make_node("Shape", ["scores_of_one"], ["count_of_one"]),
        helper.make_node("Expand", ["turn", "count_of_one"], [f"{INDEX}_of_one"]),
        helper.make_node("Identity", ["go_on"], ["go_on_after"]),
    ]
    nodes += [
        helper.make_node("Concat", [f"{name}_so_far", f"{name}_of_one"], [f"{name}_after"], axis=0)
        for name in _TYPES
    ]

    def value(name: str, kind: int, rank: int | None = None) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, [] if rank is None else [None] * rank)

    states = [(name, kind, len(shape)) for name, (kind, shape, _) in _TYPES.items()]
    return helper.make_graph(
        nodes,
        "one_picture",
        [
            value("turn", TensorProto.INT64),
            value("go_on", TensorProto.BOOL),
            *(value(f"{name}_so_far", kind, rank) for name, kind, rank in states),
        ],
        [
            value("go_on_after", TensorProto.BOOL),
            *(value(f"{name}_after", kind, rank) for name, kind, rank in states),
        ],
    )


def _renamed(node: onnx.NodeProto, outputs: set[str]) -> onnx.NodeProto:
    """The node; what is an output of the graph has another name inside the loop."""
    found = onnx.NodeProto()
    found.CopyFrom(node)
    for names in (found.input, found.output):
        names[:] = [f"{name}_of_one" if name in outputs else name for name in names]
    return found
