"""A delivered model for MLflow: what the file MLmodel names as `loader_module`; needs no mlflow itself.

Requests are Azure ML's: a table with one column `image`, a picture's bytes or those in base64. Answers are
Azure's too: a list with `{"boxes": [...]}` for each picture (see `maskline.answers.azure`).
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from .answers import azure
from .errors import DataError
from .inference import predict
from .onnx_model import OnnxModel

COLUMN = "image"


class PyfuncModel:
    """The model behind `mlflow.pyfunc.load_model`."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Answers on pictures, one for each row.

        Args:
            data: a pandas DataFrame with a column `image`, or Azure's request, `{"input_data": {"columns":
                ["image"], "data": [...]}}`.
            params: score_threshold, max_detections, mask_threshold, in place of the file's.

        Raises:
            DataError: a picture can't be read, or there is no such column.
            ModelFileError: a limit is out of its range, or baked into the file.
        """
        limits = {name: value for name, value in (params or {}).items() if value is not None}
        pictures = [picture_bytes(value) for value in _column(data)]
        answers = []
        for number, answer in enumerate(predict(self.model, pictures, **limits)):
            if answer.detections is None:
                raise DataError(f"row {number}: {answer.error}")
            answers.append(azure(answer.detections))
        return answers


def picture_bytes(value: Any) -> bytes:
    """A picture's bytes, from bytes or base64, with or without `data:…;base64,` before it.

    Raises:
        DataError: it is neither.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if not isinstance(value, str):
        raise DataError(f"a picture is given as {type(value).__name__}; give its bytes in base64, as text")
    text = value.partition(";base64,")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(f"a picture is no base64: {error}") from error


def _column(data: Any) -> Sequence[Any]:
    if isinstance(data, Mapping):
        data = data.get("input_data", data)
        if (
            isinstance(data, Mapping)
            and data.get("columns") == [COLUMN]
            and isinstance(data.get("data"), list)
        ):
            return [row[0] if isinstance(row, list) and len(row) == 1 else row for row in data["data"]]
        raise DataError(f'the request holds no pictures; give {{"columns": ["{COLUMN}"], "data": [...]}}')
    if COLUMN not in getattr(data, "columns", ()):
        raise DataError(f"the table has no column {COLUMN}; it holds the pictures' bytes, or base64")
    column: list[Any] = list(data[COLUMN])
    return column


def _load_pyfunc(path: str) -> PyfuncModel:
    """What MLflow calls with the path of the ONNX file."""
    return PyfuncModel(OnnxModel(path))
