"""The grid: Azure's formula, exact cover, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.errors import DataError
from maskline.tiling import Tiling, Window


@pytest.mark.parametrize("text", ["3x2", "3X2", "(3, 2)", "3,2"])
def test_columns_come_before_rows(text: str) -> None:
    tiling = Tiling.parse(text)
    assert (tiling.columns, tiling.rows, tiling.grid) == (3, 2, "3x2")


def test_tiles_by_azures_formula() -> None:
    # W / (r + (1 - r) m) = 1000 / (.25 + .75 * 3) = 400, and 700 / (.25 + .75 * 2) = 400; steps of 300.
    assert Tiling(3, 2, 0.25).windows(1000, 700) == [
        Window(0, 0, 400, 400), Window(300, 0, 400, 400), Window(600, 0, 400, 400),
        Window(0, 300, 400, 400), Window(300, 300, 400, 400), Window(600, 300, 400, 400),
    ]  # fmt: skip
    assert Tiling(2, 1, 0).windows(5, 3) == [Window(0, 0, 2, 3), Window(2, 0, 3, 3)]


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 7),
    st.integers(2, 7),
    st.sampled_from([0, 0.1, 0.25, 0.5, 0.9]),
)
def test_every_pixel_is_in_a_tile(width: int, height: int, columns: int, rows: int, overlap: float) -> None:
    tiling = Tiling(columns, rows, overlap)
    views = tiling.views(width, height)
    assert views[0] == Window(0, 0, width, height)
    if not tiling.fits(width, height):
        assert len(views) == 1
        return
    tiles = tiling.windows(width, height)
    assert views[1:] == tiles
    assert len(set(tiles)) == columns * rows
    for start, length, size in ((0, 2, width), (1, 3, height)):
        sides = sorted({(tile[start], tile[start] + tile[length]) for tile in tiles})
        assert sides[0][0] == 0
        assert sides[-1][1] == size
        assert all(end > begin for begin, end in sides)
        assert all(later[0] <= sooner[1] for sooner, later in zip(sides, sides[1:], strict=False))
        if not overlap:
            assert all(later[0] == sooner[1] for sooner, later in zip(sides, sides[1:], strict=False))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tiling.parse("1x1"), "a grid of 1x1 cuts nothing; give at least two tiles"),
        (lambda: Tiling.parse("0x3"), "a grid of 0x3 cuts nothing"),
        (lambda: Tiling.parse("abc"), "'abc' is not a grid"),
        (lambda: Tiling.parse("3x2", 1), r"tile_overlap_ratio=1 is outside \[0, 1\)"),
        (lambda: Tiling.parse("3x2", -0.1), "tile_overlap_ratio=-0.1 is outside"),
        (lambda: Tiling(3, 2, threshold=1.5), "tile_predictions_nms_threshold=1.5 is outside"),
    ],
)
def test_refusals(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_a_grid_finer_than_the_picture_is_refused_or_left() -> None:
    with pytest.raises(DataError, match="2 x 9 pixels can't be cut into 3x2 tiles"):
        Tiling(3, 2).windows(2, 9)
    assert Tiling(3, 2).views(2, 9) == [Window(0, 0, 2, 9)]
