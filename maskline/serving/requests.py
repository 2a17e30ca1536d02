"""Requests of both protocols as pictures, and answers of both."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskline.answers import azure
from maskline.detections import Detections
from maskline.errors import DataError, ModelFileError
from maskline.mlflow_model import picture_bytes
from maskline.onnx_model import Limits, OnnxModel
from maskline.pictures import open_upright

from .limits import Refused, ServingLimits

Picture = bytes | NDArray[np.uint8]
IMAGE = "image"
INPUTS = [{"name": IMAGE, "datatype": "BYTES", "shape": [-1]}]
TAKEN = "BYTES [-1]: picture files in base64; also UINT8 [-1, -1, 3] or [-1, -1, -1, 3]: pixels, RGB"
"""What the input may be: protocol v2's metadata have one datatype and one shape for it."""
OUTPUTS = [
    {"name": "boxes", "datatype": "FP32", "shape": [-1, 4]},
    {"name": "labels", "datatype": "INT64", "shape": [-1]},
    {"name": "scores", "datatype": "FP32", "shape": [-1]},
    {"name": "masks", "datatype": "BYTES", "shape": [-1]},
    {"name": "class_names", "datatype": "BYTES", "shape": [-1]},
    {"name": "image_index", "datatype": "INT64", "shape": [-1]},
]
"""Of protocol v2. Detections of all pictures stand one after another; image_index, from 0, tells whose each
is. boxes are x1 y1 x2 y2 in pixels, masks COCO's compressed RLE as JSON."""


@dataclass(frozen=True)
class Asked:
    """What a request wants.

    Attributes:
        pictures: in order.
        limits: score_threshold and the like.
        outputs: names of v2's outputs; empty for all.
        id: of a v2 request, which its answer repeats.
    """

    pictures: Sequence[Picture]
    limits: Limits = field(default_factory=dict)
    outputs: Sequence[str] = ()
    id: str = ""


def read_score(body: bytes, content_type: str) -> Asked:
    """Azure's request, `{"input_data": {"columns": ["image"], "data": ["<base64>", ...]}}`, or a file.

    Raises:
        Refused: it is neither.
    """
    if content_type.startswith("image/") or content_type.startswith("application/octet-stream"):
        return Asked([body])
    data = _object(body)
    table = data.get("input_data", data)
    rows = table.get("data") if isinstance(table, dict) else None
    if not isinstance(table, dict) or table.get("columns") != [IMAGE] or not isinstance(rows, list):
        form = '{"input_data": {"columns": ["image"], "data": ["<base64>", ...]}}'
        raise Refused(400, f"the request holds no pictures; its form is {form}")
    limits = data.get("params") or {}
    if not isinstance(limits, dict):
        raise Refused(400, 'params must be an object, as {"score_threshold": 0.5}')
    return Asked([_decoded(_single(row), f"data[{place}]") for place, row in enumerate(rows)], limits)


def read_infer(body: bytes) -> Asked:
    """A request of the Open Inference Protocol v2, in JSON.

    Its one input `image` is BYTES (n,), picture files in base64, or UINT8 (H, W, 3) or (n, H, W, 3), RGB.

    Raises:
        Refused: it is none.
    """
    data = _object(body)
    inputs = data.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refused(400, f"inputs must be a list of one tensor, called {IMAGE}")
    tensor = inputs[0]
    if tensor.get("name") != IMAGE:
        raise Refused(400, f"there is no input {tensor.get('name')!r}; it is called {IMAGE}")
    wanted = data.get("outputs") or []
    known = [output["name"] for output in OUTPUTS]
    if not isinstance(wanted, list) or not all(
        isinstance(one, dict) and one.get("name") in known for one in wanted
    ):
        raise Refused(400, f"outputs must be tensors out of {', '.join(map(str, known))}")
    limits = data.get("parameters") or {}
    if not isinstance(limits, dict):
        raise Refused(400, "parameters must be an object")
    number = data.get("id", "")
    return Asked(_tensor(tensor), limits, [one["name"] for one in wanted], str(number))


def answer(model: OnnxModel, asked: Asked, limits: ServingLimits) -> list[Detections]:
    """What is on the pictures of a request.

    Raises:
        Refused: too many pictures, one that is too large or can't be read, or a limit out of its range.
    """
    if len(asked.pictures) > limits.pictures:
        raise Refused(413, f"{len(asked.pictures)} pictures are too many; send {limits.pictures} at the most")
    try:
        model.check(asked.limits)
    except ModelFileError as error:
        raise Refused(400, str(error)) from error
    return [
        model(_pixels(picture, place, limits.pixels), asked.limits)
        for place, picture in enumerate(asked.pictures)
    ]


def score_response(found: Sequence[Detections]) -> bytes:
    """Azure's response: a list with an object for each picture."""
    return _json([azure(one) for one in found])


def infer_response(found: Sequence[Detections], asked: Asked, name: str, version: str) -> bytes:
    """The response of protocol v2."""
    columns: dict[str, list[Any]] = {
        "boxes": [number for one in found for number in one.boxes.ravel().tolist()],
        "labels": [label for one in found for label in one.labels.tolist()],
        "scores": [score for one in found for score in one.scores.tolist()],
        "masks": [json.dumps(mask, separators=(",", ":")) for one in found for mask in one.masks],
        "class_names": [word for one in found for word in one.names],
        "image_index": [place for place, one in enumerate(found) for _ in range(len(one))],
    }
    count = len(columns["scores"])
    outputs = [
        {**output, "shape": [count, *output["shape"][1:]], "data": columns[str(output["name"])]}
        for output in OUTPUTS
        if not asked.outputs or output["name"] in asked.outputs
    ]
    told = {"model_name": name, "model_version": version, "outputs": outputs}
    return _json({**told, "id": asked.id} if asked.id else told)


def _tensor(tensor: Mapping[str, Any]) -> list[Picture]:
    kind, shape, data = tensor.get("datatype"), tensor.get("shape"), tensor.get("data")
    if not isinstance(shape, list) or not all(type(side) is int and side >= 0 for side in shape):
        raise Refused(400, f"shape={shape!r} must be a list of whole numbers")
    if not isinstance(data, list):
        raise Refused(400, "data must be a list; tensors in binary form are not supported, send JSON")
    if kind == "BYTES":
        if shape != [len(data)] and shape != [len(data), 1]:
            raise Refused(400, f"shape={shape} does not fit {len(data)} pictures")
        return [_decoded(_single(one), f"data[{place}]") for place, one in enumerate(data)]
    if kind != "UINT8":
        raise Refused(400, f"datatype={kind!r} is not supported; send BYTES (files in base64) or UINT8")
    if len(shape) not in (3, 4) or shape[-1] != 3:
        raise Refused(400, f"shape={shape} is no picture; give [height, width, 3] or [n, height, width, 3]")
    if 0 in shape:
        raise Refused(400, f"shape={shape} has no pixels")
    values = _numbers(data)
    if len(values) != math.prod(shape) or min(values) < 0 or max(values) > 255:
        raise Refused(400, f"data must be {' x '.join(map(str, shape))} whole numbers from 0 to 255")
    return list(np.array(values, dtype=np.uint8).reshape(-1, *shape[-3:]))


def _numbers(data: list[Any]) -> list[int]:
    """The whole numbers in lists, in order; none where something else stands among them."""
    try:
        # As objects: of texts numpy would make an array whose every place is as long as the longest.
        found: list[int] = np.array(data, dtype=object).ravel().tolist()
    except ValueError:  # nested deeper than an array can be
        return []
    return found if set(map(type, found)) == {int} else []


def _pixels(picture: Picture, place: int, most: int) -> NDArray[np.uint8]:
    if isinstance(picture, np.ndarray):
        height, width = picture.shape[:2]
        if height * width > most:
            raise Refused(413, f"picture {place}: it has {width}x{height} pixels, more than {most}")
        return picture
    try:
        return np.asarray(open_upright(BytesIO(picture), limit=most))
    except DataError as error:
        large = any(words in str(error) for words in ("pixels, more than", "too large to be opened"))
        status = 413 if large else 400
        raise Refused(status, f"picture {place}: {error}") from error


def _single(row: Any) -> Any:
    return row[0] if isinstance(row, list) and len(row) == 1 else row


def _decoded(value: Any, where: str) -> bytes:
    try:
        return picture_bytes(value)
    except DataError as error:
        raise Refused(400, f"{where}: {error}") from error


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}") from error
    if not isinstance(data, dict):
        raise Refused(400, "the body must be a JSON object")
    return data


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
