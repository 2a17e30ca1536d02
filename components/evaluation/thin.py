"""Which objects are thin, told from run lengths: a mask of a large picture never comes into being."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskline.run_lengths import run_ends

THIN = 0.1
"""An object is thin if its mean width, twice the area by the outline, is below this part of its box's
diagonal: about a rectangle of 9:1, or any longer line, however it bends."""

Places = NDArray[np.int64]


def thin(masks: Sequence[dict[str, Any]]) -> list[bool]:
    """Whether each mask (compressed RLE) is that of a thin object; see THIN. Empty ones are not."""
    return [_is_thin(mask["size"], ends) for mask, ends in zip(masks, run_ends(masks), strict=True)]


def _is_thin(size: Sequence[int], ends: Places) -> bool:
    height, width = size
    starts = ends[0::2]
    stops = np.append(ends[1::2], height * width)[: len(starts)]
    starts, stops = starts[starts < stops], stops[starts < stops]
    if not len(starts):
        return False
    column, low, high = _segments(starts, stops, height)
    box = np.hypot(column[-1] - column[0] + 1, high.max() - low.min())
    area = int((stops - starts).sum())
    # Above and below each segment; and left and right, where the column beside has no pixel of the object.
    outline = 2 * len(column) + 2 * (area - _overlap(starts, stops, height))
    return bool(2 * area / outline < THIN * box)


def _segments(starts: Places, stops: Places, height: int) -> tuple[Places, Places, Places]:
    """Runs cut where columns end: column, first row and row after the last, ascending."""
    first = starts // height
    count = (stops - 1) // height - first + 1
    run = np.repeat(np.arange(len(starts)), count)
    column = first[run] + np.arange(len(run)) - np.repeat(np.cumsum(count) - count, count)
    top = column * height
    return column, np.maximum(starts[run], top) - top, np.minimum(stops[run], top + height) - top


def _overlap(starts: Places, stops: Places, shift: int) -> int:
    """How many pixels runs share with themselves, moved on by some places."""
    lengths = stops - starts
    before = np.cumsum(lengths) - lengths

    def pixels(place: Places) -> Places:
        """How many pixels of the runs come before a place."""
        run = np.searchsorted(starts, place, side="right") - 1
        inside = before[run] + np.minimum(place - starts[run], lengths[run])
        return np.asarray(np.where(run >= 0, inside, 0))

    return int((pixels(stops - shift) - pixels(starts - shift)).sum())
