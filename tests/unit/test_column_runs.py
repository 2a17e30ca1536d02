"""Runs down columns against bitmaps."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from maskline import column_runs as runs
from maskline import rle
from maskline.tiling import Window

Bitmap = NDArray[np.bool_]
SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=9)


@st.composite
def pairs(draw: Any) -> tuple[Bitmap, Bitmap]:
    shape = draw(SHAPES)
    return draw(arrays(bool, shape)), draw(arrays(bool, shape))


@st.composite
def parts(draw: Any) -> tuple[Bitmap, Window]:
    mask = draw(arrays(bool, SHAPES))
    height, width = mask.shape
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return mask, Window(left, top, draw(st.integers(1, width - left)), draw(st.integers(1, height - top)))


def spans(mask: Bitmap) -> runs.Spans:
    return runs.spans_of(rle.encode(mask))


def same(found: runs.Spans, mask: Bitmap) -> bool:
    return runs.to_rle(found, *mask.shape) == rle.encode(mask)


@given(pairs())
def test_sets_of_pixels(pair: tuple[Bitmap, Bitmap]) -> None:
    one, other = pair
    a, b = spans(one), spans(other)
    assert same(a, one)
    assert same(runs.union([a, b]), one | other)
    assert runs.area(a) == one.sum()
    assert runs.common(a, b) == (one & other).sum()
    assert runs.iou(a, b) == ((one & other).sum() / (one | other).sum() if (one | other).any() else 0)
    if one.any():
        rows, columns = np.nonzero(one)
        expected = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert runs.box_of(a, one.shape[0]) == expected


@given(parts())
def test_cut_and_lifted(part: tuple[Bitmap, Window]) -> None:
    mask, window = part
    left, top, width, height = window
    inside = np.zeros_like(mask)
    seen = mask[top : top + height, left : left + width]
    inside[top : top + height, left : left + width] = seen
    assert same(runs.cut(spans(mask), window, mask.shape[0]), inside)
    assert same(runs.lift(spans(seen), window, mask.shape[0]), inside)
