import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as api

from maskline.annotations import Mask, Polygon, Refusal, Rle, mask_to_rings, rasterise
from maskline.annotations.masks import MOST_RINGS, decode
from maskline.annotations.shapes import ShapeError, decode_counts, read_polygon, read_rle

SQUARE = [10, 10, 60, 10, 60, 60, 10, 60]


def polygon(*rings, unit="pixel", holes=True):
    return read_polygon([list(r) for r in rings], unit, holes=holes)[0]


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


def area(shape, width=100, height=80):
    return rasterise(shape, width, height)[0].area


def kinds(shape, width=100, height=80):
    return [kind for kind, _, _ in rasterise(shape, width, height)[1]]


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)))
@settings(max_examples=300, deadline=None)
def test_outlines_give_the_same_mask_again(mask):
    rings = mask_to_rings(mask)
    if not mask.any():
        assert rings == []
        return
    height, width = mask.shape
    for unit, size in (("pixel", 1), ("fraction", [width, height])):
        shape = Polygon(tuple(r / np.asarray(size, dtype=float) for r in rings), unit, holes=True)
        found, notes = rasterise(shape, width, height)
        np.testing.assert_array_equal(decode(found), mask)
        assert notes == []
        assert found.area == mask.sum()


def test_outline_of_a_square_with_a_hole():
    mask = np.zeros((6, 6), dtype=bool)
    mask[1:5, 1:5] = True
    mask[2:4, 2:4] = False
    outer, hole = mask_to_rings(mask)
    assert sorted(map(tuple, outer.tolist())) == [(1, 1), (1, 5), (5, 1), (5, 5)]
    assert sorted(map(tuple, hole.tolist())) == [(2, 2), (2, 4), (4, 2), (4, 4)]


def test_a_box_covers_its_pixels():
    mask, _ = rasterise(polygon(SQUARE), 100, 80)
    assert (mask.area, mask.bbox) == (2500, (10, 10, 50, 50))


def test_overlapping_rings_are_united():
    assert area(polygon(square(0, 0, 50), square(40, 40, 30))) == 2500 + 900 - 100


def test_a_ring_inside_another_is_a_hole_and_one_inside_that_is_solid():
    outer, hole, island = square(0, 0, 50), square(10, 10, 30), square(20, 20, 10)
    assert area(polygon(outer, hole)) == 2500 - 900
    assert area(polygon(island, outer, hole)) == 2500 - 900 + 100


def test_a_hole_is_cut_out_of_its_own_ring_only():
    outer, hole, other = square(0, 0, 50), square(20, 20, 20), square(30, 30, 40)
    assert area(polygon(outer, hole, other)) == 2500 + 1600 - 400 - (400 - 100)


@pytest.mark.parametrize("number", [255, 256, 700])
def test_an_object_may_have_many_parts(number):
    """One in ten has a hole of a pixel, which is a ring of its own."""
    places = [(4 * (n % 32), 4 * (n // 32)) for n in range(number)]
    holes = [square(x + 1, y + 1, 1) for x, y in places[::10]]
    rings = polygon(*[square(x, y, 3) for x, y in places], *holes)
    assert area(rings, 130, 90) == 9 * number - len(holes)


def test_more_rings_than_can_be_compared_are_refused():
    rings = [square(4 * (n % 100), 4 * (n // 100), 2) for n in range(MOST_RINGS + 1)]
    with pytest.raises(Refusal, match="the object has 4097 rings, more than 4096"):
        rasterise(polygon(*rings), 400, 200)


def test_a_ring_given_twice_counts_once():
    assert area(polygon(SQUARE, SQUARE)) == 2500


def test_coco_unites_nested_rings():
    assert area(polygon(square(0, 0, 50), square(10, 10, 20), holes=False)) == 2500


@given(st.lists(st.floats(-40, 140), min_size=6, max_size=16).filter(lambda v: len(v) % 2 == 0))
@settings(max_examples=200, deadline=None)
def test_polygons_are_drawn_as_pycocotools_draws_them(ring):
    try:
        shape = polygon(ring, holes=False)
        mask, _ = rasterise(shape, 100, 80)
    except (ShapeError, Refusal):
        return
    expected = api.merge(api.frPyObjects([ring], 80, 100))
    assert mask.counts == expected["counts"].decode()


def test_points_outside_are_clipped_and_listed():
    shape = polygon([-20, -20, 50, -20, 50, 50, -20, 50])
    assert area(shape) == 2500
    assert kinds(shape) == ["outside_coordinates"]
    assert kinds(polygon([-0.5, 0, 50, 0, 50, 50])) == []


@pytest.mark.parametrize("ring", [[0, 0, 1e9, 0, 1e9, 1e9], [0, 0, 201, 0, 50, 50], [0, -81, 50, 50, 0, 50]])
def test_points_far_outside_are_refused(ring):
    with pytest.raises(Refusal, match="far outside the picture of 100x80") as caught:
        rasterise(polygon(ring), 100, 80)
    assert caught.value.kind == "outside_coordinates"


def test_pixels_where_fractions_belong_are_refused():
    with pytest.raises(Refusal, match="points are in fractions"):
        rasterise(polygon(SQUARE, unit="fraction"), 100, 80)


def test_a_shape_without_pixels_is_refused():
    with pytest.raises(Refusal, match="no pixel") as caught:
        rasterise(polygon([1, 1, 5, 5, 9, 9]), 100, 80)
    assert caught.value.kind == "empty_mask"


def test_a_ring_that_crosses_itself_is_listed():
    assert kinds(polygon([10, 10, 60, 60, 60, 10, 10, 60])) == ["self_crossing"]


@given(st.integers(5, 40), st.floats(3, 35), st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_a_star_shaped_ring_does_not_cross_itself(points, radius, seed):
    rng = np.random.default_rng(seed)
    # Less than half a turn lies between two points, so the ring goes round its centre once.
    angles = 2 * np.pi * (np.arange(points) + rng.uniform(0, 0.9, points)) / points
    reach = radius * rng.uniform(0.3, 1, points)
    ring = np.stack([40 + reach * np.cos(angles), 40 + reach * np.sin(angles)], axis=1)
    shape = polygon([0, 0, 1, 0, 1, 1, 0, 1], ring.ravel().tolist())  # one pixel at least is drawn
    assert kinds(shape) == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "list of rings"),
        ([], "list of rings"),
        ({}, "list of rings"),
        ([[]], "three different points"),
        ([[1, 1, 2, 2]], "three different points"),
        ([[5, 5, 5, 5, 5, 5]], "three different points"),
        ([1, 2, 3, 4, 5, 6], "flat list"),
        ([[1, 2, 3, 4, 5, 6, 7]], "odd number of values"),
        ([["1", "2", "3", "4", "5", "6"]], "list of numbers"),
        ([[True, 2, 3, 4, 5, 6]], "list of numbers"),
        ([[[1, 2], [3, 4], [5, 6]]], "list of numbers"),
        ([[float("nan"), 2, 3, 4, 5, 6]], "NaN or infinity"),
        ([[float("inf"), 2, 3, 4, 5, 6]], "NaN or infinity"),
        ([[10**400, 2, 3, 4, 5, 6]], "too large"),
    ],
)
def test_polygons_that_are_none(value, message):
    with pytest.raises(ShapeError, match=message):
        read_polygon(value, "pixel", holes=False)


def test_a_ring_of_two_points_is_dropped_and_the_others_stay():
    shape, dropped = read_polygon([SQUARE, [1, 1, 2, 2]], "pixel", holes=False)
    assert (len(shape.rings), dropped) == (1, 1)


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40)), elements=st.integers(0, 1)))
@settings(max_examples=200, deadline=None)
def test_compressed_run_lengths_are_read_as_pycocotools_reads_them(mask):
    rle = api.encode(np.asfortranarray(mask))
    text = rle["counts"].decode()
    found = read_rle({"size": list(mask.shape), "counts": text})
    assert read_rle({"size": list(mask.shape), "counts": decode_counts(text)}) == found
    if not mask.any():
        with pytest.raises(Refusal, match="no pixel"):
            rasterise(found, mask.shape[1], mask.shape[0])
        return
    drawn, _ = rasterise(found, mask.shape[1], mask.shape[0])
    assert drawn == Mask(*mask.shape, text, int(mask.sum()), tuple(api.toBbox(rle).tolist()))


def test_empty_runs_do_not_change_a_mask():
    assert read_rle({"size": [2, 4], "counts": [0, 2, 0, 1, 3, 0, 2]}) == Rle(2, 4, (0, 3, 5))
    assert read_rle({"size": [2, 4], "counts": [1, 0, 1, 6]}) == Rle(2, 4, (2, 6))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "size=None"),
        ({"size": [0, 4], "counts": []}, "1 or more"),
        ({"size": [2.5, 4], "counts": []}, "1 or more"),
        ({"size": [2, 4], "counts": [3, 4]}, "fill 7 pixels, but .* has 8"),
        ({"size": [2, 4], "counts": [9, -1]}, "0 or more"),
        ({"size": [2, 4], "counts": None}, "0 or more"),
        ({"size": [2, 4], "counts": "\u00e9"}, "no compressed run lengths"),
        ({"size": [2, 4], "counts": "o"}, "middle of a number"),
        ({"size": [2, 4], "counts": "o" * 40}, "no compressed run lengths"),
        ({"size": [2, 4], "counts": ""}, "fill 0 pixels"),
    ],
)
def test_run_lengths_that_are_none(value, message):
    with pytest.raises(ShapeError, match=message):
        read_rle(value)


@given(st.text(alphabet=[chr(c) for c in range(40, 120)], max_size=30))
def test_no_text_of_run_lengths_breaks_the_reader(text):
    try:
        found = read_rle({"size": [5, 6], "counts": text})
    except ShapeError:
        return
    assert sum(found.counts) == 30


def test_run_lengths_of_another_size_are_refused():
    with pytest.raises(Refusal, match="10x10 in a picture of 100x80") as caught:
        rasterise(Rle(10, 10, (50, 50)), 100, 80)
    assert caught.value.kind == "bad_rle"
