"""Run lengths by numpy alone, against pycocotools."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from pycocotools import mask as coco

from maskline import rle


def random_mask(seed: int, height: int, width: int, share: float) -> np.ndarray:
    """A mask with runs of all lengths: noise that is repeated along the columns."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((max(1, height // int(rng.integers(1, 9))), width)) < share
    return np.repeat(coarse, -(-height // len(coarse)), axis=0)[:height].astype(np.uint8)


@settings(max_examples=150, deadline=None)
@given(
    strategies.integers(0, 2**32 - 1),
    strategies.integers(1, 90),
    strategies.integers(1, 90),
    strategies.sampled_from([0, 0.02, 0.5, 0.98, 1]),
)
def test_the_letters_are_pycocotools_own(seed: int, height: int, width: int, share: float) -> None:
    mask = random_mask(seed, height, width, share)
    ours = rle.encode(mask)
    theirs = coco.encode(np.asfortranarray(mask))
    assert ours == {"size": list(theirs["size"]), "counts": theirs["counts"].decode()}
    assert np.array_equal(rle.decode(ours), mask)


def test_long_and_falling_runs_in_several_masks_at_once() -> None:
    counts = [np.array([0, 2**31, 5, 1, 2**31, 3]), np.array([7]), np.array([10, 1, 2, 100000, 2, 1])]
    total = [int(one.sum()) for one in counts]
    theirs = [
        coco.frPyObjects({"size": [1, n], "counts": c.tolist()}, 1, n)
        for c, n in zip(counts, total, strict=True)
    ]
    found = rle.compress(counts)
    assert found[1:] == [one["counts"].decode() for one in theirs[1:]]
    assert [rle.expand(text).tolist() for text in found] == [one.tolist() for one in counts]
    assert rle.compress([]) == []


def test_runs_that_leave_the_mask_are_refused() -> None:
    with pytest.raises(ValueError, match="runs of 12 pixels for a mask of 2x5"):
        rle.decode({"size": [2, 5], "counts": rle.compress([np.array([4, 8])])[0]})
