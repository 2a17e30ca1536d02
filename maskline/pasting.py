"""Small soft masks in boxes -> run lengths on a whole picture, with no picture-sized array in between.

A Mask R-CNN gives each detection a mask of 28 x 28 probabilities. torchvision resizes it to its box, lays it
on an empty picture, and the picture is then encoded: work and memory for every pixel of every detection.
Here only the box is looked at, and of a large box only where the outline runs.

The answer is that of torchvision's `paste_masks_in_image`, a threshold, and pycocotools' `encode`, to the
byte. A pixel on the threshold is decided by the last bit, so the arithmetic is torch's on a CPU too: float32,
with a fused multiplication and addition where its kernels have one. It has two kernels, which differ in
how they round.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rle import compress

PADDING = 1
"""Empty cells around a mask, so that its outline fades out at the box's edge."""
_SMALL = 128
"""torch resizes by another kernel where height + width are at most this."""
_NEAR = 1e-5
"""A value this near to the threshold is computed in full. Rounding is below 1e-6."""

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


class _Axis(NamedTuple):
    """Where the pixels of one side lie between the cells of a mask: `first * one + second * other`."""

    one: Integers
    other: Integers
    first: Floats
    second: Floats


def paste(
    masks: Floats, boxes: Floats, height: int, width: int, threshold: float = 0.5
) -> list[dict[str, Any]]:
    """Masks at the size of the picture, as COCO's compressed RLE.

    Args:
        masks: (n, m, m) or (n, 1, m, m), probabilities 0 ... 1; m is 28 in torchvision's models.
        boxes: (n, 4) x1 y1 x2 y2 in pixels of the picture; may reach beyond it, or lie outside.
        height: of the picture in pixels.
        width: of the picture in pixels.
        threshold: a pixel belongs to the mask when its probability is above this, 0 < threshold < 1.

    Returns:
        `{"size": [height, width], "counts": str}` for each mask, in order.

    Raises:
        ValueError: the shapes don't fit together, the threshold is outside (0, 1), or a box is no number.
    """
    cells, limits = _checked(masks, boxes, threshold)
    counts = [
        _counts(_changes(mask, box, height, width, np.float32(threshold)), height * width)
        for mask, box in zip(cells, limits, strict=True)
    ]
    return encode_counts(counts, height, width)


def encode_counts(counts: Sequence[NDArray[np.uint32]], height: int, width: int) -> list[dict[str, Any]]:
    """Run lengths as COCO's compressed RLE.

    Args:
        counts: for each mask the lengths of its runs, down the columns, of empty pixels first. They add up
            to height * width.
        height: of the picture in pixels.
        width: of the picture in pixels.
    """
    size = [height, width]
    if not counts:
        return []
    return [{"size": size, "counts": text} for text in compress(counts)]


def _checked(masks: Floats, boxes: Floats, threshold: float) -> tuple[Floats, Integers]:
    """Masks with an empty border; boxes grown as much, in whole pixels, cut off as torch does."""
    masks = np.asarray(masks, dtype=np.float32)
    boxes = np.asarray(boxes, dtype=np.float32).reshape(-1, 4)
    side = masks.shape[-1]
    if masks.size != len(boxes) * side * side:
        raise ValueError(
            f"masks of shape {masks.shape} don't fit {len(boxes)} boxes; give one square mask each"
        )
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold} is outside (0, 1)")
    if not np.isfinite(boxes).all():
        raise ValueError("a box has an edge that is no number; leave it out")
    border = (PADDING, PADDING)
    cells = np.pad(masks.reshape(-1, side, side), ((0, 0), border, border))
    scale, half = np.float32((side + 2 * PADDING) / side), np.float32(0.5)
    low, high = boxes[:, :2], boxes[:, 2:]
    reach, centre = (high - low) * half * scale, (high + low) * half
    return cells, np.concatenate([centre - reach, centre + reach], axis=1).astype(np.int64)


def _changes(mask: Floats, box: Integers, height: int, width: int, threshold: np.float32) -> Integers:
    """Places, counted down the columns of the picture, where the mask begins or ends; ascending."""
    left, top, right, bottom = box.tolist()
    high, wide = max(bottom - top + 1, 1), max(right - left + 1, 1)
    rows = np.arange(max(top, 0), min(top + high, height))
    columns = np.arange(max(left, 0), min(left + wide, width))
    if not len(rows) or not len(columns):
        return np.zeros(0, dtype=np.int64)
    x, y = _axis(wide, columns - left, len(mask)), _axis(high, rows - top, len(mask))
    if high + wide <= _SMALL:
        column, row = _runs(_small_kernel(mask, x, y) > threshold)
    else:
        column, row = _outline(_across(mask, x), y, threshold)
    places: Integers = (columns[0] + column) * height + rows[0] + row
    if len(rows) < height:
        return places
    # The mask may go on from the foot of one column to the head of the next: an end and a beginning in one.
    different, times = np.unique(places, return_counts=True)
    once: Integers = different[times == 1]
    return once


def _axis(size: int, pixels: Integers, cells: int) -> _Axis:
    """Bilinear interpolation from `cells` to `size` pixels, for some of them; as torch, without corners."""
    scale = np.float32(cells) / np.float32(size)
    place = _fused(scale, pixels.astype(np.float32) + np.float32(0.5), np.float32(-0.5))
    place = np.maximum(place, np.float32(0))
    one = np.minimum(place.astype(np.int64), cells - 1)
    second = np.minimum(place - one.astype(np.float32), np.float32(1))
    return _Axis(one, np.minimum(one + 1, cells - 1), np.float32(1) - second, second)


def _fused(a: Any, b: Any, c: Any) -> Any:
    """`a * b + c`, rounded once: a product of two float32 is exact in float64."""
    return (np.multiply(a, b, dtype=np.float64) + c).astype(np.float32)


def _runs(bits: NDArray[np.bool_]) -> tuple[Integers, Integers]:
    """Columns and rows of the box where a run begins or ends, from (columns, rows) of pixels."""
    inside = np.zeros((len(bits), bits.shape[1] + 2), dtype=bool)
    inside[:, 1:-1] = bits
    columns, rows = np.nonzero(inside[:, 1:] != inside[:, :-1])
    return columns, rows


def _outline(across: Floats, y: _Axis, threshold: np.float32) -> tuple[Integers, Integers]:
    """The same without looking at every pixel: only where a column passes the outline.

    Down a column, the pixels between two cells can only rise or fall. So between two cells that are both
    clearly inside, or both clearly outside, no run begins or ends. Nor does one at an edge of the picture
    that cuts the box, unless cells beyond it lie on both sides: those at the box's own edges are empty.
    """
    inside = across > threshold
    unclear = np.abs(across - threshold) < _NEAR
    cells = np.arange(across.shape[1])
    below = np.minimum(cells + 1, len(cells) - 1)
    column, cell = np.nonzero((inside != inside[:, below]) | unclear | unclear[:, below])
    begin = np.searchsorted(y.one, cells)
    end = np.searchsorted(y.one, cells, side="right")
    if len(cell) * (end - begin).max(initial=0) > len(across) * len(y.one):
        # A ragged mask: its outline is nearly everywhere, and looking at every pixel is less work.
        values = _fused(y.first, across[:, y.one], y.second * across[:, y.other])
        return _runs(values > threshold)
    # From one pixel above the cell's first to one below its last: neighbours may differ there, too.
    rows = begin[cell, None] - 1 + np.arange((end - begin).max(initial=0) + 2)
    real = (rows >= 0) & (rows < len(y.one))
    at = np.clip(rows, 0, len(y.one) - 1)
    c = column[:, None]
    values = _fused(y.first[at], across[c, y.one[at]], y.second[at] * across[c, y.other[at]])
    hit = real & (values > threshold)
    pair, step = np.nonzero((hit[:, 1:] != hit[:, :-1]) & (rows[:, 1:] <= end[cell, None]))
    found = np.sort(column[pair] * (len(y.one) + 1) + rows[pair, step + 1])
    return np.divmod(found[np.diff(found, prepend=-1) > 0], len(y.one) + 1)


def _across(mask: Floats, x: _Axis) -> Floats:
    """(pixels of a row, cells of a column): the mask resized in one direction, columns first."""
    turned = mask.T
    resized: Floats = _fused(x.first[:, None], turned[x.one], x.second[:, None] * turned[x.other])
    return resized


def _small_kernel(mask: Floats, x: _Axis, y: _Axis) -> Floats:
    """(columns, rows) of values, in the order of operations of torch's kernel for small pictures."""
    turned = mask.T
    one, other = turned[x.one], turned[x.other]
    first, second = x.first[:, None], x.second[:, None]
    values = _fused(y.first * first, one[:, y.one], (y.first * second) * other[:, y.one])
    values = _fused(y.second * first, one[:, y.other], values)
    small: Floats = _fused(y.second * second, other[:, y.other], values)
    return small


def _counts(places: Integers, pixels: int) -> NDArray[np.uint32]:
    """Lengths of runs, of empty pixels first."""
    ends = np.concatenate(([0], places[places < pixels], [pixels]))
    return (ends[1:] - ends[:-1]).astype(np.uint32)
