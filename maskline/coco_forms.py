"""The forms that COCO's JSON has: of masks, and of results."""

from collections.abc import Mapping, Sequence
from typing import Any

from hotcoco import mask as rle

GroundTruth = Mapping[str, Any]
"""images, annotations, categories."""
Predictions = Sequence[Mapping[str, Any]]
"""COCO results."""


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
