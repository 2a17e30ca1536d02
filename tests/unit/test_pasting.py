"""Run lengths of pasted masks, against torchvision's pasting and pycocotools' encoding."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as rle
from torchvision.models.detection.roi_heads import paste_masks_in_image

from maskline.pasting import encode_counts, paste

KINDS = ("noise", "blob", "ones", "half", "around_half", "binary", "empty")


def expected(
    masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float = 0.5
) -> list[str]:
    """What torchvision and pycocotools make of them."""
    pasted = paste_masks_in_image(torch.from_numpy(masks)[:, None], torch.from_numpy(boxes), (height, width))[
        :, 0
    ]
    binary = (pasted > threshold).to(torch.uint8).numpy()
    return [rle.encode(np.asfortranarray(one))["counts"].decode() for one in binary]


def soft(kind: str, n: int, generator: np.random.Generator) -> np.ndarray:
    shape = (n, 28, 28)
    if kind == "noise":
        return generator.random(shape, dtype=np.float32)
    if kind == "blob":
        y, x = np.mgrid[-1:1:28j, -1:1:28j]
        radius = generator.uniform(0.3, 1.2, (n, 1, 1))
        return (1 / (1 + np.exp(9 * (np.hypot(x, 1.2 * y) - radius)))).astype(np.float32)
    if kind == "around_half":  # where the last bit decides
        return (0.5 + generator.normal(scale=1e-7, size=shape)).astype(np.float32)
    if kind == "binary":
        return (generator.random(shape) > 0.5).astype(np.float32)
    return np.full(shape, {"ones": 1, "half": 0.5, "empty": 0}[kind], dtype=np.float32)


def around(generator: np.random.Generator, n: int, height: int, width: int, largest: float) -> np.ndarray:
    """Boxes from under a pixel to far larger than the picture, whose centres lie in it."""
    centre = generator.random((n, 2)) * [width, height]
    size = np.exp(generator.uniform(-2, np.log(largest), (n, 2)))
    return np.concatenate([centre - size / 2, centre + size / 2], axis=1).astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(KINDS),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    threshold=st.sampled_from([0.5, 0.5, 0.3, 0.9]),
)
def test_the_bytes_are_those_of_torchvision_and_pycocotools(
    seed: int, kind: str, height: int, width: int, threshold: float
) -> None:
    generator = np.random.default_rng(seed)
    boxes = around(generator, 6, height, width, largest=3 * max(height, width, 3))
    masks = soft(kind, 6, generator)
    found = paste(masks, boxes, height, width, threshold)
    assert [one["counts"] for one in found] == expected(masks, boxes, height, width, threshold)
    assert all(one["size"] == [height, width] for one in found)


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 200, 150),  # the whole picture
        (-40, -30, 260, 190),  # beyond it on all sides
        (50, 0, 51, 150),  # a column, from edge to edge
        (0, 70, 200, 70.4),  # less than a row
        (-500, -500, 900, 30),
        (180, 120, 4000, 4000),
        (199, 149, 200, 150),
        (33.7, 20.2, 91.1, 83.9),  # 128 rows and columns together, where torch changes its kernel
        (33.7, 20.2, 92.2, 84.4),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_edges_and_corners(box: tuple[float, ...], kind: str) -> None:
    masks = soft(kind, 1, np.random.default_rng(3))
    boxes = np.array([box], dtype=np.float32)
    assert [one["counts"] for one in paste(masks, boxes, 150, 200)] == expected(masks, boxes, 150, 200)


def test_a_box_outside_the_picture_is_empty() -> None:
    boxes = np.array([[300, 10, 340, 40], [-80, 10, -40, 40], [5, -60, 40, -10]], dtype=np.float32)
    found = paste(np.ones((3, 1, 28, 28), np.float32), boxes, 150, 200)
    assert [rle.area(one) for one in found] == [0, 0, 0]


def test_no_detections() -> None:
    assert paste(np.zeros((0, 1, 28, 28), np.float32), np.zeros((0, 4), np.float32), 10, 10) == []


def test_what_does_not_fit_is_refused() -> None:
    mask, box = np.ones((1, 28, 28), np.float32), np.array([[0, 0, 9, 9]], np.float32)
    with pytest.raises(ValueError, match="don't fit 2 boxes"):
        paste(mask, np.repeat(box, 2, axis=0), 10, 10)
    with pytest.raises(ValueError, match=r"threshold=1 is outside \(0, 1\)"):
        paste(mask, box, 10, 10, threshold=1)
    with pytest.raises(ValueError, match="no number"):
        paste(mask, box * np.float32(np.nan), 10, 10)


def test_run_lengths_are_encoded_as_pycocotools_does() -> None:
    bits = np.zeros((7, 5), np.uint8)
    bits[2:4, 1] = bits[6, 4] = 1
    counts = np.array([9, 2, 23, 1], np.uint32)
    assert (
        encode_counts([counts], 7, 5)[0]["counts"] == rle.encode(np.asfortranarray(bits))["counts"].decode()
    )
