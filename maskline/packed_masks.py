"""Masks on their way to the network: eight pixels a byte, and only where each object is."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """Masks of one picture, which take their dense form, (n, H, W) uint8, only while they are used.

    It stands where torchvision's detectors expect a tensor of masks: to be moved, and to be indexed.

    Attributes:
        shape: n, H, W.
        bits: the parts of all masks one after the other, each row by row, eight pixels a byte.
        places: (n, 4), the first and last + 1 row, and the first and last + 1 byte of a row, of each part.
        device: where the dense form is to be.
    """

    shape: tuple[int, int, int]
    bits: NDArray[np.uint8]
    places: NDArray[np.int64]
    device: torch.device = torch.device("cpu")

    @classmethod
    def of(cls, masks: Tensor) -> "PackedMasks":
        """Pack masks (n, H, W), uint8 of 0 and 1, on the CPU."""
        count, height, width = masks.shape
        bits = np.packbits(masks.numpy(), axis=2)
        places = np.stack([*_ends(bits.max(axis=2) > 0), *_ends(bits.max(axis=1) > 0)], axis=1)
        parts = [
            one[top:bottom, left:right].ravel()
            for one, (top, bottom, left, right) in zip(bits, places.tolist(), strict=True)
        ]
        return cls((count, height, width), np.concatenate([bits[:0].ravel(), *parts]), places)

    def dense(self) -> Tensor:
        """The masks, (n, H, W) uint8."""
        count, height, width = self.shape
        bits = np.zeros((count, height, -(-width // 8)), dtype=np.uint8)
        start = 0
        for one, (top, bottom, left, right) in zip(bits, self.places.tolist(), strict=True):
            size = (bottom - top) * (right - left)
            one[top:bottom, left:right] = self.bits[start : start + size].reshape(bottom - top, right - left)
            start += size
        return torch.from_numpy(np.unpackbits(bits, axis=2, count=width)).to(self.device)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        """What the index takes from the dense form, which isn't kept."""
        return self.dense()[index]

    def to(self, device: torch.device) -> "PackedMasks":
        """The same masks, to become dense on a device."""
        return replace(self, device=device)


def dense(masks: Tensor | PackedMasks) -> Tensor:
    """Masks (n, H, W) as a tensor, in whichever form they are."""
    return masks.dense() if isinstance(masks, PackedMasks) else masks


def _ends(some: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The first place and the last + 1 with something, of each row (n, places); equal where there is none."""
    size = some.shape[1]
    first, after = some.argmax(1), size - some[:, ::-1].argmax(1)
    return first, np.where(some.any(1), after, first)
