"""Run lengths looked up on another grid, against decoding and torch's resizing."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from torch.nn import functional

from maskline.run_lengths import look_up, nearest, run_ends

SIDE = st.integers(1, 90)


def drawn(seed: int, height: int, width: int) -> np.ndarray:
    """(6, height, width): noise, a disc, everything, nothing, a pixel, columns up to the edge."""
    random = np.random.default_rng(seed)
    masks = np.zeros((6, height, width), np.uint8)
    masks[0] = random.random((height, width)) > 0.5
    y, x = np.mgrid[:height, :width]
    masks[1] = np.hypot(y - random.integers(height), x - random.integers(width)) < 0.3 * max(height, width)
    masks[2] = 1
    masks[4, random.integers(height), random.integers(width)] = 1
    masks[5, :, random.integers(width) :] = 1
    return masks


def encoded(masks: np.ndarray) -> list[dict]:
    found = [rle.encode(np.asfortranarray(mask)) for mask in masks]
    return [{**one, "counts": one["counts"].decode()} if i % 2 else one for i, one in enumerate(found)]


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10**6), height=SIDE, width=SIDE, wanted=st.tuples(SIDE, SIDE))
def test_resized_as_torch_resizes_the_decoded_mask(
    seed: int, height: int, width: int, wanted: tuple[int, int]
) -> None:
    masks = drawn(seed, height, width)
    found = np.zeros((len(masks), *wanted), np.uint8)
    look_up(encoded(masks), nearest(width, wanted[1]), nearest(height, wanted[0]), found)
    expected = functional.interpolate(torch.from_numpy(masks)[:, None], size=wanted, mode="nearest-exact")
    assert np.array_equal(found, expected[:, 0].numpy())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), height=SIDE, width=SIDE)
def test_any_ascending_columns_and_rows(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    columns = np.sort(random.integers(0, width, random.integers(1, 50)))
    rows = np.sort(random.integers(0, height, random.integers(1, 50)))
    masks = drawn(seed, height, width)
    found = np.zeros((len(masks), len(rows), len(columns)), np.uint8)
    look_up(encoded(masks), columns, rows, found)
    assert np.array_equal(found, masks[:, rows][:, :, columns])


def test_ends_of_runs() -> None:
    mask = np.zeros((4, 3), np.uint8)
    mask[1:3, 0] = mask[3, 1] = mask[0, 2] = 1
    (ends,) = run_ends(encoded(mask[None]))
    assert ends.tolist() == [1, 3, 7, 9]  # down the columns; 7 and 8 are one run
    assert run_ends([]) == []
