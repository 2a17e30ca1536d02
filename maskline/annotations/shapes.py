"""The two forms in which a source gives a mask: rings of points, and run lengths."""

import reprlib
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
short = _brief.repr
"""A value from a file as part of a message: one line, whatever its size and depth."""

Unit = Literal["pixel", "fraction"]


@dataclass(frozen=True, slots=True, eq=False)
class Polygon:
    """The rings of one object.

    Attributes:
        rings: float64 arrays of shape (points, 2) with x and y, at least 3 points each.
        unit: whether points are pixels, or fractions of the picture's width and height.
        holes: whether a ring inside another ring is a hole; else all rings are united, as COCO has it.
    """

    rings: tuple[NDArray[np.float64], ...]
    unit: Unit
    holes: bool


@dataclass(frozen=True, slots=True)
class Rle:
    """Run lengths down the columns: background first, then object, and so on in turn.

    Attributes:
        height, width: in pixels.
        counts: the run lengths; they are not negative and fill height x width.
    """

    height: int
    width: int
    counts: tuple[int, ...]


Shape = Polygon | Rle


class ShapeError(ValueError):
    """What is wrong with the shape of an object, in words."""


def read_polygon(value: Any, unit: Unit, *, holes: bool) -> tuple[Polygon, int]:
    """Check the rings of one object, `[[x1, y1, x2, y2, ...], ...]`.

    Returns:
        The polygon, and how many rings were dropped because they have fewer than three points.

    Raises:
        ShapeError: no ring is left, or a ring holds what is no finite number, or an odd number of values.
    """
    if not isinstance(value, list) or not value:
        raise ShapeError(f"polygon={short(value)} must be a list of rings [[x1, y1, x2, y2, ...], ...]")
    if all(_is_number(v) for v in value):
        raise ShapeError(f"polygon={short(value)} is one flat list; put each ring into a list of its own")
    rings = [_read_ring(ring) for ring in value]
    kept = tuple(ring for ring in rings if len(set(map(tuple, ring.tolist()))) >= 3)
    if not kept:
        raise ShapeError(f"polygon={short(value)} has no ring of three different points or more")
    return Polygon(kept, unit, holes), len(rings) - len(kept)


def _read_ring(ring: Any) -> NDArray[np.float64]:
    if not isinstance(ring, list) or not all(_is_number(v) for v in ring):
        raise ShapeError(f"ring {short(ring)} must be a list of numbers")
    if len(ring) % 2:
        raise ShapeError(f"ring {short(ring)} has an odd number of values ({len(ring)}); points are pairs")
    try:
        points = np.array(ring, dtype=np.float64).reshape(-1, 2)
    except OverflowError:
        raise ShapeError(f"ring {short(ring)} holds numbers that are too large") from None
    if not np.isfinite(points).all():
        raise ShapeError(f"ring {short(ring)} holds NaN or infinity")
    return points


def read_rle(value: Any) -> Rle:
    """Check run lengths, `{"size": [height, width], "counts": [...] or "..."}`, compressed or not.

    Raises:
        ShapeError: the size is none, or the counts can't be decoded or don't fill it.
    """
    size = _whole(value.get("size")) if isinstance(value, dict) else None
    if (
        not isinstance(size, list)
        or len(size) != 2
        or not all(_is_count(v) and 0 < v < 1 << 31 for v in size)
    ):
        raise ShapeError(f"size={short(size)} of run lengths must be [height, width], both 1 or more")
    counts = _whole(value.get("counts"))
    if isinstance(counts, str):
        counts = decode_counts(counts)
    if not isinstance(counts, list) or not all(_is_count(v) for v in counts):
        raise ShapeError(f"counts={short(counts)} must be run lengths of 0 or more, or their compressed text")
    height, width = size
    if sum(counts) != height * width:
        raise ShapeError(f"counts fill {sum(counts)} pixels, but size={size} has {height * width}")
    return Rle(height, width, _without_empty_runs(counts))


def any_channel(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where values of shape (height, width) or (height, width, channels) aren't 0."""
    bitmap: NDArray[np.bool_] = values != 0
    return bitmap if bitmap.ndim == 2 else np.logical_or.reduce(bitmap, axis=2)


def from_bitmap(mask: NDArray[np.bool_]) -> Rle:
    """The run lengths of a mask of shape (height, width)."""
    flat = np.asarray(mask, dtype=bool).ravel(order="F")
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return Rle(mask.shape[0], mask.shape[1], tuple([0, *runs] if flat.size and flat[0] else runs))


def decode_counts(text: str) -> list[int]:
    """Run lengths from COCO's compressed text.

    Each number is written in groups of 5 bits, the lowest first, as characters from `0` on; bit 6 says
    that more follow, and the highest bit of the last group is the sign. From the fourth number on it is the
    difference to the number two places before.

    Raises:
        ShapeError: a character outside the alphabet, a number without end, or one of more than 60 bits.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise ShapeError(f"counts={short(text)} are no compressed run lengths")
        number |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ShapeError(f"counts={short(text)} end in the middle of a number")
    return counts


def _without_empty_runs(counts: list[int]) -> tuple[int, ...]:
    """The same mask in its shortest form, in which only the first run may be empty."""
    values = np.arange(len(counts)) % 2
    lengths = np.array(counts, dtype=np.int64)
    kept = lengths > 0
    values, lengths = values[kept], lengths[kept]
    starts = np.flatnonzero(np.diff(values, prepend=-1))
    runs = np.add.reduceat(lengths, starts).tolist()
    return tuple([0, *runs] if values[0] else runs)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _whole(values: Any) -> Any:
    """The same list with 60.0 as 60, which is how tables write whole numbers."""
    if not isinstance(values, list) or not any(isinstance(v, float) for v in values):
        return values
    return [int(v) if isinstance(v, float) and v.is_integer() else v for v in values]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
