"""Pictures that shrink are smoothed, whoever shrinks them."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from maskline.augmentation import whole
from maskline.models.resizing import MEAN, STD, ExactTransform
from maskline.models.rfdetr import prepared
from maskline.resampling import resampled

SIDE, SMALL = 160, 33
WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "bytes": lambda picture: resampled(picture, (SMALL, SMALL)).float(),
    "fractions": lambda picture: 255 * resampled(picture.float() / 255, (SMALL, SMALL)),
    "training": lambda picture: whole((SIDE, SIDE), (SMALL, SMALL)).pixels(picture.permute(1, 2, 0).numpy()),
    "maskrcnn": lambda picture: 255 * ExactTransform(SMALL, SMALL).eval().resize(picture.float() / 255)[0],
    "rfdetr": lambda picture: 255 * (prepared(picture, SMALL) * _column(STD) + _column(MEAN)),
}


def _column(values: tuple[float, ...]) -> Tensor:
    return torch.tensor(values)[:, None, None]


@pytest.mark.parametrize("way", WAYS)
def test_a_fine_chessboard_becomes_grey(way: str) -> None:
    board = torch.from_numpy(np.indices((SIDE, SIDE)).sum(0) % 2 * 255).to(torch.uint8).expand(3, -1, -1)
    small = WAYS[way](board.contiguous())
    assert small.shape == (3, SMALL, SMALL)
    assert (small - 127.5).abs().max() < 4


def test_rounding_to_bytes_favours_neither_side() -> None:
    picture = torch.randint(0, 256, (3, 97, 131), dtype=torch.uint8, generator=torch.manual_seed(0))
    for size in ((40, 53), (96, 130), (200, 301)):
        apart = resampled(picture, size).float() - resampled(picture.float(), size)
        assert apart.abs().max() < 1.1
        assert apart.mean().abs() < 0.1


def test_enlarging_is_plainly_bilinear() -> None:
    picture = torch.rand(3, 30, 41, generator=torch.manual_seed(0))
    plain = functional.interpolate(picture[None], size=(75, 99), mode="bilinear", align_corners=False)[0]
    assert torch.allclose(resampled(picture, (75, 99)), plain, atol=1e-5)
