"""Detections in the forms that programs read: Azure ML's response, COCO, LabelMe, PNG."""

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from . import rle
from .detections import Detections
from .outlines import Ring, is_hole, simple_rings

_INDEXED = 255
"""Objects that a PNG of 8 bits can number."""


def azure(found: Detections) -> dict[str, Any]:
    """One picture in Azure ML's response form; every number that is a place is a fraction of the picture.

    `{"boxes": [{"box": {"topX", "topY", "bottomX", "bottomY"}, "label", "score", "polygon", ...}]}`. As in
    Azure's, `polygon` is a list of rings `[x, y, x, y, ...]`, and a ring inside another is a hole, as Azure's
    trainer reads them too: combined with exclusive or they are the mask. Two keys are Maskline's own: `holes`
    says of each ring whether it is one, and `rle` is the exact mask as COCO's compressed RLE, in pixels.
    """
    size = np.array([found.width, found.height], dtype=np.float64)
    boxes = []
    for index, (box, name, score) in enumerate(zip(found.boxes, found.names, found.scores, strict=True)):
        left, top, right, bottom = (box / np.tile(size, 2)).tolist()
        rings = outlines(found, index)
        boxes.append(
            {
                "box": {"topX": left, "topY": top, "bottomX": right, "bottomY": bottom},
                "label": name,
                "score": float(score),
                "polygon": [(ring / size).ravel().tolist() for ring in rings],
                "holes": [is_hole(ring) for ring in rings],
                "rle": found.masks[index],
            }
        )
    return {"boxes": boxes}


def outlines(found: Detections, index: int) -> list[Ring]:
    """The rings of one mask in pixels of the picture, see `maskline.outlines.simple_rings`."""
    mask, left, top = cropped(found, index)
    offset = np.array([left, top])
    return [ring + offset for ring in simple_rings(mask)]


def cropped(found: Detections, index: int) -> tuple[NDArray[np.uint8], int, int]:
    """A mask without its empty margins, and where its left and top edge lie; (0, 0) pixels if it is empty."""
    mask = found.mask(index)
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    if not len(rows):
        return mask[:0, :0], 0, 0
    left, top = int(columns[0]), int(rows[0])
    return mask[top : rows[-1] + 1, left : columns[-1] + 1], left, top


def coco_annotations(found: Detections, image_id: int) -> Iterator[dict[str, Any]]:
    """Detections as COCO annotations with a score; the caller numbers them.

    category_id is the label, from 1; bbox is [x, y, width, height] in pixels, area the mask's in pixels,
    segmentation compressed RLE.
    """
    for box, label, score, mask in zip(
        found.boxes.tolist(), found.labels.tolist(), found.scores.tolist(), found.masks, strict=True
    ):
        left, top, right, bottom = box
        yield {
            "image_id": image_id,
            "category_id": label,
            "score": score,
            "bbox": [left, top, right - left, bottom - top],
            "area": int(rle.expand(mask["counts"])[1::2].sum()),
            "iscrowd": 0,
            "segmentation": mask,
        }


def labelme(found: Detections, picture: str) -> dict[str, Any]:
    """LabelMe's file of one picture: polygons to be edited, parts of one object with one group_id.

    LabelMe's polygons have no holes; an object with one is a mask, which LabelMe edits since 5.2. Detections
    whose masks are empty have no shape; they stand in `emptyMasks`, a key of our own, which LabelMe keeps:
    label, score and box [x1, y1, x2, y2] in pixels.

    Args:
        found: what is on the picture.
        picture: its path, as seen from where the file will lie.
    """
    shapes, empty = [], []
    for index, (name, score) in enumerate(zip(found.names, found.scores.tolist(), strict=True)):
        rings = outlines(found, index)
        if not rings:
            empty.append({"label": name, "score": score, "box": found.boxes[index].tolist()})
        if any(is_hole(ring) for ring in rings):
            parts = [_bitmap(*cropped(found, index))]
        else:
            parts = [{"shape_type": "polygon", "points": ring.astype(float).tolist()} for ring in rings]
        group = index + 1 if len(parts) > 1 else None
        told: dict[str, Any] = {
            "label": name,
            "group_id": group,
            "description": f"score {score:.4f}",
            "flags": {},
        }
        shapes += [{**told, **part} for part in parts]
    return {
        "version": "5.5.0",
        "flags": {},
        "shapes": shapes,
        "imagePath": picture,
        "imageData": None,
        "imageHeight": found.height,
        "imageWidth": found.width,
        **({"emptyMasks": empty} if empty else {}),
    }


def _bitmap(mask: NDArray[np.uint8], left: int, top: int) -> dict[str, Any]:
    height, width = mask.shape
    stream = io.BytesIO()
    Image.fromarray(mask * np.uint8(255)).convert("1").save(stream, format="PNG")
    return {
        "shape_type": "mask",
        "points": [[left, top], [left + width - 1, top + height - 1]],
        "mask": base64.b64encode(stream.getvalue()).decode("ascii"),
    }


def index_picture(found: Detections) -> Image.Image:
    """A picture (H, W) of whole numbers: 0 where nothing is, i where detection i, from 1, is.

    Where masks overlap, the higher score lies on top. 8 bits, or 16 where there are more detections.
    """
    canvas = np.zeros((found.height, found.width), dtype=np.uint16)
    for index in reversed(range(len(found))):
        canvas[found.mask(index) > 0] = index + 1
    return Image.fromarray(canvas.astype(np.uint8) if len(found) <= _INDEXED else canvas)


def index_table(found: Detections) -> list[dict[str, Any]]:
    """What the numbers of `index_picture` mean: id, label, score and box [x1, y1, x2, y2] in pixels."""
    return [
        {"id": index + 1, "label": name, "score": float(score), "box": box.tolist()}
        for index, (name, score, box) in enumerate(zip(found.names, found.scores, found.boxes, strict=True))
    ]


def line(value: object) -> str:
    """A value as one line of JSON."""
    return json.dumps(value, separators=(",", ":"))
