"""A graph whose layers compute with 16 bits, and everything else with 32."""

from collections.abc import Iterator

import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS = ("Conv", "ConvTranspose", "Gemm", "Relu", "MaxPool")
EXACT = ("cls_logits", "bbox_pred", "box_predictor", "mask_fcn_logits")
"""Last layers of the heads: a small part of the work, and boxes and scores come straight from them."""


def is_exact(node: onnx.NodeProto) -> bool:
    """Whether a node belongs to a last layer, which stays in 32 bits in every variant."""
    return any(last in node.name for last in EXACT)


def halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with weights and arithmetic of its layers in float16; inputs and outputs stay in 32.

    onnxruntime's converter makes 16 bits of everything; boxes in pixels would have a step of half a pixel
    from 512 on, and picture sizes would be infinite above 65504.
    """
    floats = _floats(model)
    found = onnx.ModelProto()
    found.CopyFrom(model)
    weights = {one.name: one for one in model.graph.initializer if one.data_type == TensorProto.FLOAT}
    twins: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    added: list[onnx.TensorProto] = []
    for node in model.graph.node:
        if not _is_layer(node, floats):
            nodes.append(node)
            continue
        half = onnx.NodeProto()
        half.CopyFrom(node)
        for name in node.input:
            if name and name not in twins:
                twins[name] = f"{name}_fp16"
                if name in weights:
                    values = numpy_helper.to_array(weights[name]).astype("float16")
                    added.append(numpy_helper.from_array(values, twins[name]))
                else:
                    nodes.append(_cast(name, twins[name], TensorProto.FLOAT16))
        half.input[:] = [twins.get(name, name) for name in node.input]
        half.output[:] = [f"{name}_fp16" for name in node.output]
        nodes.append(half)
        for name, twin in zip(node.output, half.output, strict=True):
            twins[name] = twin
            nodes.append(_cast(twin, name, TensorProto.FLOAT))
    used = {name for node in nodes if node.op_type != "Cast" for name in _read(node)}
    used |= {name for node in nodes if node.op_type == "Cast" and not _is_back(node) for name in node.input}
    used |= {output.name for output in model.graph.output}
    del found.graph.node[:], found.graph.initializer[:], found.graph.value_info[:]
    found.graph.node.extend(node for node in nodes if not _is_back(node) or node.output[0] in used)
    found.graph.initializer.extend(one for one in model.graph.initializer if one.name in used)
    found.graph.initializer.extend(added)
    return found


def _floats(model: onnx.ModelProto) -> set[str]:
    """Names of tensors that are known to be float32."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {one.name for one in inferred.value_info if one.type.tensor_type.elem_type == TensorProto.FLOAT}


def _is_layer(node: onnx.NodeProto, floats: set[str]) -> bool:
    """Layers, and what adds and scales between those of the backbone."""
    inner = node.op_type in ("Add", "Mul") and "/backbone/" in node.name and node.output[0] in floats
    return (node.op_type in LAYERS or inner) and not is_exact(node)


def _cast(name: str, to: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [name], [to], name=f"cast_to_{to}", to=kind)


def _is_back(node: onnx.NodeProto) -> bool:
    return node.name.startswith("cast_to_") and node.input[0].endswith("_fp16")


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, the nodes in its attributes included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _read(inner)
        yield from (output.name for output in attribute.g.output)
