"""From shapes to masks as COCO has them, and from masks back to rings."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskline.errors import DataError

from .records import Kind, Refusal
from .shapes import Polygon, Rle, Shape

TOLERANCE = 1.0
"""How far outside the picture a point may lie without being listed, in pixels."""
MOST_RINGS = 4096
"""Rings of an object of which any may be a hole of any other."""


@dataclass(frozen=True, slots=True)
class Mask:
    """The mask of one object, at the size of its picture.

    Attributes:
        height, width: in pixels.
        counts: COCO's compressed run lengths.
        area: pixels of the mask, 1 or more.
        bbox: x, y, width and height of the mask, in pixels.
    """

    height: int
    width: int
    counts: str
    area: int
    bbox: tuple[float, float, float, float]


def rasterise(shape: Shape, width: int, height: int) -> tuple[Mask, list[tuple[Kind, str, str]]]:
    """The mask of a shape in a picture of `width` x `height` pixels, bit-equal with pycocotools.

    Rings are drawn by pycocotools and clipped at the picture's edges. They are united; where the polygon
    says that rings may be holes, a ring whose pixels all lie in another ring is cut out of it, and a ring
    inside a hole is solid again.

    Returns:
        The mask, and what is worth a finding: (kind, what, action).

    Raises:
        Refusal: the mask is empty, run lengths have another size than the picture, points lie more than a
            picture's width or height outside, or there are more than MOST_RINGS rings that may be holes.
    """
    notes: list[tuple[Kind, str, str]] = []
    if isinstance(shape, Rle):
        rle = _from_runs(shape, width, height)
    else:
        rings = _in_pixels(shape, width, height)
        notes += _outside(rings, width, height)
        drawn = _mask_api().frPyObjects([r.ravel().tolist() for r in rings], height, width)
        notes += _crossing(rings, drawn, width, height)
        rle = _with_holes(drawn) if shape.holes and len(drawn) > 1 else _mask_api().merge(drawn)
    area = int(_mask_api().area(rle))
    if not area:
        raise Refusal("empty_mask", "the shape covers no pixel of the picture")
    x, y, w, h = _mask_api().toBbox(rle).tolist()
    return Mask(height, width, rle["counts"].decode("ascii"), area, (x, y, w, h)), notes


def decode(mask: Mask) -> NDArray[np.uint8]:
    """The mask as an array of shape (height, width), 1 on the object."""
    rle = {"size": [mask.height, mask.width], "counts": mask.counts}
    found: NDArray[np.uint8] = _mask_api().decode(rle)
    return found


def _in_pixels(shape: Polygon, width: int, height: int) -> list[NDArray[np.float64]]:
    size = np.array([width, height], dtype=np.float64)
    rings = [r * size if shape.unit == "fraction" else r for r in shape.rings]
    points = np.concatenate(rings)
    if (points < -size).any() or (points > 2 * size).any():
        x, y = points[np.argmax(np.abs(points / size - 0.5).max(axis=1))]
        unit = "fractions of its width and height" if shape.unit == "fraction" else "pixels"
        what = f"pixel ({x:g}, {y:g}) is far outside the picture of {width}x{height}; points are in {unit}"
        raise Refusal("outside_coordinates", what)
    return rings


def _outside(rings: list[NDArray[np.float64]], width: int, height: int) -> list[tuple[Kind, str, str]]:
    points = np.concatenate(rings)
    low, high = points.min(axis=0), points.max(axis=0)
    if (low >= -TOLERANCE).all() and (high <= np.array([width, height]) + TOLERANCE).all():
        return []
    extent = f"x {low[0]:g} to {high[0]:g} and y {low[1]:g} to {high[1]:g}"
    return [("outside_coordinates", f"{extent} leave the picture of {width}x{height}", "clipped")]


def _crossing(
    rings: list[NDArray[np.float64]], drawn: list[Any], width: int, height: int
) -> list[tuple[Kind, str, str]]:
    """Rings that cross themselves: the pixels drawn differ from the area that the ring encloses.

    The area is the shoelace formula's. Drawing may move each edge by half a pixel, so that only a difference
    above half the ring's length counts.
    """
    for ring, rle in zip(rings, drawn, strict=True):
        if (ring < 0).any() or (ring > np.array([width, height])).any():
            continue
        following = np.roll(ring, -1, axis=0)
        enclosed = abs(float(np.sum(ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]))) / 2
        length = float(np.hypot(*(following - ring).T).sum())
        if abs(int(_mask_api().area(rle)) - enclosed) > length / 2 + 2:
            return [("self_crossing", "a ring crosses itself", "filled by the even-odd rule")]
    return []


def _with_holes(drawn: list[Any]) -> Any:
    """Rings by their nesting: level 0 is solid, a ring inside it a hole, a ring inside that solid again."""
    api = _mask_api()
    # One by one: pycocotools fails on a list of more than 255.
    areas = np.array([int(api.area(rle)) for rle in drawn])
    kept = np.flatnonzero(areas) if areas.any() else np.array([0])
    drawn, areas = [drawn[index] for index in kept], areas[kept]
    if len(drawn) > MOST_RINGS:
        what = f"the object has {len(drawn)} rings, more than {MOST_RINGS}; label its parts as objects"
        raise Refusal("bad_polygon", what)
    # With the crowd flag, pycocotools divides the intersection by the first mask's area: 1.0 is "inside".
    inside = np.asarray(api.iou(drawn, drawn, [1] * len(drawn))) == 1.0
    inside &= ~inside.T
    levels = np.zeros(len(drawn), dtype=int)
    for ring in np.argsort(-areas, kind="stable"):
        levels[ring] = 1 + levels[inside[ring]].max(initial=-1)
    if not levels.any():
        return api.merge(drawn)
    parts = []
    for ring in np.flatnonzero(levels % 2 == 0):
        holes = np.flatnonzero(inside[:, ring] & (levels == levels[ring] + 1))
        if not holes.size:
            parts.append(drawn[ring])
            continue
        part = api.decode(drawn[ring])
        for hole in holes:
            part[api.decode(drawn[hole]) > 0] = 0
        parts.append(api.encode(part))
    return api.merge(parts)


def _from_runs(shape: Rle, width: int, height: int) -> Any:
    if (shape.height, shape.width) != (height, width):
        what = f"run lengths of {shape.width}x{shape.height} in a picture of {width}x{height}"
        raise Refusal("bad_rle", what)
    rle = {"size": [height, width], "counts": list(shape.counts)}
    return _mask_api().frPyObjects(rle, height, width)


def _mask_api() -> Any:
    """`pycocotools.mask`, loaded when it is needed: reading annotations does without."""
    try:
        from pycocotools import mask
    except ImportError as error:
        raise DataError("masks need pycocotools; install it with: pip install 'maskline[train]'") from error
    return mask
