"""COCO's compressed run lengths, read and looked up on another grid without ever being a whole mask.

A mask is stored as the lengths of its runs, down the columns, of empty pixels first. Resizing, cropping and
shifting by the nearest pixel only moves the places where runs begin and end, so its cost is that of the
outline, and no mask of the original picture's size comes into being.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as rle

Integers = NDArray[np.int64]


def run_ends(masks: Sequence[dict[str, Any]]) -> list[Integers]:
    """Where the runs of each mask end, counted in pixels down the columns of its picture.

    The first run is empty, so pixel p is in the mask when the number of ends <= p is odd.

    Args:
        masks: compressed RLE, `counts` as str or bytes; the format is that of pycocotools' `rleFrString`.

    Returns:
        For each mask ascending places; equal ones where a run has no pixels. The last run's end, that of the
        picture, is left out.
    """
    if not masks:
        return []
    texts = [m["counts"].encode("ascii") if isinstance(m["counts"], str) else m["counts"] for m in masks]
    symbols = np.frombuffer(b"".join(texts), dtype=np.uint8).astype(np.int64) - 48
    # A number is written in groups of 5 bits, lowest first; bit 6 says that more follow, and the highest bit
    # of the last group is the sign.
    last = (symbols & 0x20) == 0
    starts = np.flatnonzero(np.concatenate(([True], last[:-1])))
    ends = np.flatnonzero(last)
    shift = 5 * (np.arange(len(symbols)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((symbols & 0x1F) << shift, starts)
    numbers -= ((symbols[ends] & 0x10) != 0) * (np.int64(1) << (shift[ends] + 5))
    bounds = np.searchsorted(ends, np.cumsum([0, *(len(text) for text in texts)]))
    return [_places(numbers[a:b].copy()) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]


def _places(counts: Integers) -> Integers:
    """Ends from written numbers: from the fourth on each is a difference to the one two before it."""
    counts[1::2] = np.cumsum(counts[1::2])
    counts[2::2] = np.cumsum(counts[2::2])
    return np.cumsum(counts)[:-1]


def nearest(size: int, wanted: int, start: float = 0, length: float | None = None) -> Integers:
    """Which pixel of a side stands for each pixel of a resized one: the one under its centre.

    Equal to torch's `interpolate(mode="nearest-exact")` where the whole side is taken.

    Args:
        size: pixels of the side.
        wanted: pixels that the part becomes.
        start: where the part begins, in pixels.
        length: of the part in pixels; None: up to the end.
    """
    step = np.float32((size - start if length is None else length) / wanted)
    places = np.float32(start) + (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * step
    return np.clip(places.astype(np.int64), 0, size - 1)


def look_up(
    masks: Sequence[dict[str, Any]], columns: Integers, rows: Integers, out: NDArray[np.uint8]
) -> None:
    """Write the pixels of masks at some columns and rows.

    Args:
        masks: compressed RLE, all of one size.
        columns: ascending columns of the picture; a column may come more than once.
        rows: the same for rows.
        out: (n, len(rows), len(columns)) of zeros; becomes 1 in the masks.
    """
    if not masks:
        return
    height = int(masks[0]["size"][0])
    boxes = rle.toBbox(list(masks)).astype(np.int64)
    for target, ends, (left, top, width, tall) in zip(out, run_ends(masks), boxes.tolist(), strict=True):
        first, after = np.searchsorted(columns, (left, left + width))
        upper, under = np.searchsorted(rows, (top, top + tall))
        if first < after and upper < under:
            block = _block(ends, height, columns[first:after], rows[upper:under])
            target[upper:under, first:after] = block.T


def _block(ends: Integers, height: int, columns: Integers, rows: Integers) -> NDArray[np.uint8]:
    """(columns, rows) of pixels, from where the runs end in the picture."""
    fresh = np.concatenate(([True], columns[1:] != columns[:-1]))
    once = columns[fresh]
    column, row = np.divmod(ends, height)
    at = np.searchsorted(once, column)
    seen = once[np.minimum(at, len(once) - 1)] == column
    places = at * len(rows) + np.where(seen, np.searchsorted(rows, row), 0)
    places = np.minimum(places, len(once) * len(rows))
    lengths = np.diff(places, prepend=0, append=len(once) * len(rows))
    inside = (np.arange(len(lengths)) & 1).astype(np.uint8)
    pixels = np.repeat(inside, lengths).reshape(len(once), len(rows))
    return pixels if len(once) == len(columns) else pixels[np.cumsum(fresh) - 1]
