"""An ONNX file for fast prediction, cut from the one that is delivered, without the package onnx.

The graph lays every mask on the whole picture, which is right for whoever reads `masks`, and work for nothing
where small soft masks are enough (see maskline.pasting). ONNX Runtime computes all of a graph, whatever
outputs are asked for. So the nodes that only `masks` needs are left out before the file is loaded. This works
on the encoding of protocol buffers: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from mmap import mmap

GRAPH, METADATA = 7, 14  # fields of ModelProto
NODE, OUTPUT = 1, 12  # of GraphProto
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_LENGTH = 2  # wire type of texts, bytes and messages

Bytes = bytes | memoryview
Field = tuple[int, memoryview, memoryview]
"""Number, payload, and the whole field with its tag."""


def metadata(data: bytes | mmap) -> dict[str, str]:
    """The metadata in an ONNX file.

    Raises:
        ValueError: the bytes are no message.
    """
    found = {}
    for number, payload, _ in _fields(memoryview(data)):
        if number == METADATA:
            entry = {key: bytes(value).decode() for key, value, _ in _fields(payload)}
            found[entry.get(1, "")] = entry.get(2, "")
    return found


def with_output_instead(data: bytes | mmap, old: str, new: str) -> bytes:
    """The model with the inner tensor `new` as output in place of `old`, and without nodes that none needs.

    Args:
        data: an ONNX file, read or mapped.
        old: name of one of its outputs.
        new: name of a tensor that one of its nodes gives.
    """
    model: list[Bytes] = []
    graph = memoryview(b"")
    for number, payload, whole in _fields(memoryview(data)):
        if number == GRAPH:
            graph = payload
        else:
            model.append(whole)
    changed = _changed(graph, old, new)
    # Weights make up nearly all of a file: they are copied once, into the result.
    return b"".join([*model, _opening(GRAPH, sum(map(len, changed))), *changed])


def _changed(graph: memoryview, old: str, new: str) -> list[Bytes]:
    """The fields of the changed graph, in order."""
    fields = list(_fields(graph))
    outputs = {_text(payload): whole for number, payload, whole in fields if number == OUTPUT}
    kept: list[Bytes] = [whole for name, whole in outputs.items() if name != old]
    kept.append(_message(OUTPUT, _message(1, new.encode())))
    wanted = (set(outputs) - {old}) | {new}
    nodes = []
    # Nodes stand in the order of their execution, so that what is wanted is known from the last on.
    for payload, whole in reversed([(p, w) for number, p, w in fields if number == NODE]):
        if wanted & set(_names(payload, _NODE_OUTPUT)):
            wanted.update(_needed(payload))
            nodes.append(whole)
    rest = [whole for number, _, whole in fields if number not in (NODE, OUTPUT)]
    return [*reversed(nodes), *rest, *kept]


def _needed(node: memoryview) -> Iterator[str]:
    """Names that a node reads, the nodes in its attributes included."""
    yield from _names(node, _NODE_INPUT)
    for number, attribute, _ in _fields(node):
        if number == _NODE_ATTRIBUTE:
            for inner, graph, _ in _fields(attribute):
                if inner in _ATTRIBUTE_GRAPHS:
                    for kind, payload, _ in _fields(graph):
                        if kind == NODE:
                            yield from _needed(payload)
                        elif kind == OUTPUT:
                            yield _text(payload)


def _names(message: memoryview, wanted: int) -> list[str]:
    return [bytes(payload).decode() for number, payload, _ in _fields(message) if number == wanted]


def _text(message: memoryview) -> str:
    """The first field of a message, which is its name."""
    return next(bytes(payload).decode() for number, payload, _ in _fields(message) if number == 1)


def _message(number: int, payload: bytes) -> bytes:
    return _opening(number, len(payload)) + payload


def _opening(number: int, length: int) -> bytes:
    """What stands before a message of so many bytes."""
    return _varint(number << 3 | _LENGTH) + _varint(length)


def _fields(message: memoryview) -> Iterator[Field]:
    place = 0
    while place < len(message):
        start = place
        tag, place = _read_varint(message, place)
        kind = tag & 7
        if kind == _LENGTH:
            length, place = _read_varint(message, place)
        elif kind == 0:
            _, after = _read_varint(message, place)
            length = after - place
        else:
            length = {1: 8, 5: 4}.get(kind, len(message))
        end = place + length
        if end > len(message):
            raise ValueError("this is no ONNX file, or it was cut off")
        yield tag >> 3, message[place:end], message[start:end]
        place = end


def _read_varint(message: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(message) or shift > 63:
            raise ValueError("this is no ONNX file, or it was cut off")
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
