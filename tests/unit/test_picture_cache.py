"""The store of decoded pictures."""

import multiprocessing

import numpy as np
import pytest

from maskline.picture_cache import PictureCache

SIZES = [(4, 3), (100, 100), (2, 5), (6, 6)]


def picture(index: int) -> np.ndarray:
    width, height = SIZES[index]
    return np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)


def refuse() -> np.ndarray:
    raise AssertionError("it is there already")


def test_kept_pictures_are_made_once() -> None:
    cache = PictureCache(SIZES, 10**6)
    for index in range(len(SIZES)):
        cache.get(index, lambda index=index: picture(index))
    assert len(cache) == 4
    assert all(np.array_equal(cache.get(i, refuse), picture(i)) for i in range(4))


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (40, 1), (300, 3), (30_174, 3), (30_178, 4)])
def test_the_limit_holds_and_small_pictures_fill_it(limit: int, kept: int) -> None:
    cache = PictureCache(SIZES, limit)
    for index in range(4):
        found = cache.get(index, lambda index=index: picture(index))
        assert np.array_equal(found, picture(index))
    assert len(cache) == kept
    assert cache.bytes + len(SIZES) <= max(limit, len(SIZES))


def test_what_one_process_made_all_have() -> None:
    cache = PictureCache(SIZES, 10**6)
    child = multiprocessing.get_context("fork").Process(target=cache.get, args=(2, lambda: picture(2)))
    child.start()
    child.join(30)
    assert np.array_equal(cache.get(2, refuse), picture(2))
