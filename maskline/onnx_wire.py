"""An ONNX file made ready to be loaded, and for fast prediction, without the package onnx.

Weights make up nearly all of a file. They are left where they lie, for ONNX Runtime to read, since each copy
of them is a good part of a cold start.

The graph lays every mask on the whole picture, which is right for whoever reads `masks`, and work for nothing
where small soft masks are enough (see maskline.pasting). ONNX Runtime computes all of a graph, whatever
outputs are asked for. So the nodes that only `masks` needs are left out before the file is loaded. This works
on the encoding of protocol buffers: https://protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from mmap import mmap

GRAPH, METADATA = 7, 14  # fields of ModelProto
NODE, INITIALIZER, OUTPUT = 1, 5, 12  # of GraphProto
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_RAW_DATA, _EXTERNAL_DATA, _DATA_LOCATION = 9, 13, 14  # of TensorProto
_EXTERNAL = 1  # a value of _DATA_LOCATION
_LARGE = 1024
"""Bytes from which on a tensor is left where it lies."""
_LENGTH = 2  # wire type of texts, bytes and messages

Bytes = bytes | memoryview
Field = tuple[int, memoryview, Bytes]
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


def parts(data: bytes | mmap, instead: tuple[str, str] | None = None) -> tuple[bytes, dict[str, memoryview]]:
    """The model without its large weights, and these, which are views of `data`.

    The model names them as external data, each in a file of its own, by the keys of the second result; they
    are what `SessionOptions.add_external_initializers_from_files_in_memory` of ONNX Runtime wants.

    Args:
        data: an ONNX file, read or mapped.
        instead: name of an output, and of an inner tensor that takes its place; nodes that no output needs
            any more are left out then.

    Raises:
        ValueError: the bytes are no message.
    """
    model: list[Bytes] = []
    graph = memoryview(b"")
    for number, payload, whole in _fields(memoryview(data)):
        if number == GRAPH:
            graph = payload
        else:
            model.append(whole)
    fields: list[Field] = []
    weights: dict[str, memoryview] = {}
    for number, payload, whole in _fields(graph):
        if number == INITIALIZER and (found := _large(payload)) is not None:
            place = f"weights-{len(weights)}"
            weights[place] = found
            whole = _message(INITIALIZER, _elsewhere(payload, place, len(found)))
        fields.append((number, payload, whole))
    kept = [whole for _, _, whole in fields] if instead is None else _changed(fields, *instead)
    return b"".join([*model, _message(GRAPH, b"".join(kept))]), weights


def _large(tensor: memoryview) -> memoryview | None:
    """The bytes of a large tensor, if they lie in the file in one piece."""
    held = {number: payload for number, payload, _ in _fields(tensor)}
    raw = held.get(_RAW_DATA)
    return raw if raw is not None and len(raw) >= _LARGE and _DATA_LOCATION not in held else None


def _elsewhere(tensor: memoryview, place: str, length: int) -> bytes:
    """A tensor whose bytes are those of a file, from its beginning on."""
    told = [(b"location", place), (b"offset", "0"), (b"length", str(length))]
    entries = [
        _message(_EXTERNAL_DATA, _message(1, key) + _message(2, value.encode())) for key, value in told
    ]
    rest = [whole for number, _, whole in _fields(tensor) if number != _RAW_DATA]
    return b"".join([*rest, *entries, _varint(_DATA_LOCATION << 3), _varint(_EXTERNAL)])


def _changed(fields: list[Field], old: str, new: str) -> list[Bytes]:
    """The fields of a graph with another output, in order."""
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
    return next(iter(_names(message, 1)), "")


def _message(number: int, payload: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(payload)) + payload


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
