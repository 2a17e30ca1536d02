"""Masks as their runs down the columns of a picture: cut, moved, united and compared without any bitmap.

A mask is an array of spans: (n, 2) int64, each [start, end) in pixels counted down the columns of a picture,
ascending and disjoint. Memory and time are those of the outline, whatever the picture's size.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import rle
from .tiling import Window

Spans = NDArray[np.int64]
Box = tuple[int, int, int, int]


def spans_of(mask: dict[str, Any]) -> Spans:
    """The spans of COCO's compressed RLE, `counts` as str or bytes."""
    text = mask["counts"]
    ends = np.cumsum(rle.expand(text.decode("ascii") if isinstance(text, bytes) else text))
    # Runs alternate, of empty pixels first; the last may be empty.
    places = ends if len(ends) % 2 == 0 else ends[:-1]
    return _tidy(places.reshape(-1, 2))


def to_rle(spans: Spans, height: int, width: int) -> dict[str, Any]:
    """COCO's compressed RLE of spans on a picture."""
    flat = _tidy(spans).ravel()
    counts = np.diff(np.concatenate(([0], flat, [height * width])))
    # COCO writes no last run without pixels.
    if len(counts) > 1 and counts[-1] == 0:
        counts = counts[:-1]
    return {"size": [height, width], "counts": rle.compress([counts])[0]}


def _tidy(spans: Spans) -> Spans:
    """Spans without empty ones, and neighbours that touch made one."""
    spans = spans[spans[:, 1] > spans[:, 0]]
    if len(spans) < 2:
        return spans
    apart = spans[1:, 0] > spans[:-1, 1]
    return np.stack(
        [spans[np.concatenate(([True], apart)), 0], spans[np.concatenate((apart, [True])), 1]], axis=1
    )


def by_column(spans: Spans, height: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Column, first row and row after the last of each span, where a span over several columns is several."""
    if not len(spans):
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    first, last = spans[:, 0] // height, (spans[:, 1] - 1) // height
    number = last - first + 1
    which = np.repeat(np.arange(len(spans)), number)
    place = np.arange(len(which)) - np.repeat(np.cumsum(number) - number, number)
    column = first[which] + place
    upper = np.where(place == 0, spans[which, 0] - column * height, 0)
    under = np.where(place == number[which] - 1, spans[which, 1] - column * height, height)
    return column, upper, under


def lift(spans: Spans, window: Window, height: int) -> Spans:
    """A window's spans in the picture, of this height, that it was cut from."""
    column, upper, under = by_column(spans, window.height)
    base = (column + window.left) * height + window.top
    return _tidy(np.stack([base + upper, base + under], axis=1))


def cut(spans: Spans, window: Window, height: int) -> Spans:
    """What of a mask lies in a window; in pixels of the picture, of this height, as before."""
    column, upper, under = by_column(spans, height)
    inside = (column >= window.left) & (column < window.left + window.width)
    upper = np.maximum(upper[inside], window.top)
    under = np.minimum(under[inside], window.top + window.height)
    base, some = column[inside] * height, under > upper
    return _tidy(np.stack([base[some] + upper[some], base[some] + under[some]], axis=1))


def union(masks: Sequence[Spans]) -> Spans:
    """The pixels of any of several masks."""
    spans = np.concatenate([np.zeros((0, 2), dtype=np.int64), *masks])
    spans = spans[np.argsort(spans[:, 0], kind="stable")]
    if not len(spans):
        return spans
    ends = np.maximum.accumulate(spans[:, 1])
    fresh = np.concatenate(([True], spans[1:, 0] > ends[:-1]))
    last = np.concatenate((fresh[1:], [True]))
    return np.stack([spans[fresh, 0], ends[last]], axis=1)


def area(spans: Spans) -> int:
    """Pixels of a mask."""
    return int((spans[:, 1] - spans[:, 0]).sum())


def common(one: Spans, other: Spans) -> int:
    """Pixels that two masks share."""
    if not len(one) or not len(other):
        return 0
    return int((_before(one, other[:, 1]) - _before(one, other[:, 0])).sum())


def _before(spans: Spans, places: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many pixels of a mask lie before each of some places."""
    sums = np.concatenate(([0], np.cumsum(spans[:, 1] - spans[:, 0])))
    at = np.searchsorted(spans[:, 0], places, side="right")
    beyond = np.where(at > 0, np.maximum(spans[at - 1, 1] - places, 0), 0)
    result: NDArray[np.int64] = sums[at] - beyond
    return result


def iou(one: Spans, other: Spans) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    shared = common(one, other)
    whole = area(one) + area(other) - shared
    return shared / whole if whole else 0.0


def box_of(spans: Spans, height: int) -> Box:
    """Left, top, right and bottom edge of a mask in pixels; zeros where it is empty."""
    column, upper, under = by_column(spans, height)
    if not len(column):
        return 0, 0, 0, 0
    return int(column[0]), int(upper.min()), int(column[-1]) + 1, int(under.max())
