"""The forms that COCO's JSON has: of masks, and of results."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hotcoco import mask as rle

from .errors import DataError

GroundTruth = Mapping[str, Any]
"""images, annotations, categories."""
Predictions = Sequence[Mapping[str, Any]]
"""COCO results."""


def is_compressed(segmentation: Any) -> bool:
    """Whether a COCO segmentation is compressed RLE: not polygons, and no list of run lengths."""
    return not isinstance(segmentation, list) and not isinstance(segmentation["counts"], list)


def as_rle(segmentation: Any, height: int, width: int) -> Any:
    """A COCO segmentation (polygons, or RLE of either form) as compressed RLE."""
    if isinstance(segmentation, Sequence):
        return rle.merge(rle.frPyObjects(list(segmentation), height, width))
    if isinstance(segmentation["counts"], list):
        return rle.frPyObjects(segmentation, height, width)
    return segmentation


def mask_results(predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions as COCO's results format for masks: without boxes."""
    return [{key: value for key, value in found.items() if key != "bbox"} for found in predictions]


def box_results(predictions: Predictions) -> list[dict[str, Any]]:
    """Predictions as COCO's results format for boxes: without masks, except where a box is missing."""
    return [
        {key: value for key, value in found.items() if key != "segmentation" or "bbox" not in found}
        for found in predictions
    ]


def read_ids(path: Path) -> list[int]:
    """Ids of pictures from a file: a JSON list of whole numbers.

    Raises:
        DataError: it is anything else.
    """
    try:
        ids = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}; give a JSON list of ids of pictures") from error
    if not isinstance(ids, list) or not all(type(one) is int for one in ids):
        raise DataError(f"{path} is no list of whole numbers; give a JSON list of ids of pictures")
    return ids
