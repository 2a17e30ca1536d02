"""COCO's run lengths with numpy alone, to the byte as pycocotools writes them.

A mask is read down its columns; `counts` are the lengths of its runs, of empty pixels first. The compressed
form writes each length less the one two before it, in groups of five bits, lowest first, as letters.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
_MOST_LETTERS = 13
"""Letters that a number of 64 bits takes at the most."""


def encode(mask: NDArray[Any]) -> dict[str, Any]:
    """A mask (height, width), where what isn't 0 is object, as `{"size": [height, width], "counts": str}`."""
    height, width = mask.shape
    return {"size": [height, width], "counts": compress([runs(mask)])[0]}


def decode(rle: dict[str, Any]) -> NDArray[np.uint8]:
    """The inverse of `encode`: (height, width) uint8, 1 on the object.

    Raises:
        ValueError: the runs don't add up to the size.
    """
    height, width = rle["size"]
    counts = expand(rle["counts"])
    if counts.sum() != height * width or (counts < 0).any():
        raise ValueError(f"runs of {counts.sum()} pixels for a mask of {height}x{width}")
    values = np.arange(len(counts), dtype=np.int64) % 2
    flat = np.repeat(values.astype(np.uint8), counts)
    return flat.reshape(width, height).T


def runs(mask: NDArray[Any]) -> Counts:
    """Lengths of a mask's runs down its columns, of empty pixels first."""
    flat = np.asarray(mask, dtype=bool).T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    start = [0] if len(flat) and flat[0] else []
    return np.diff(np.concatenate(([0], start, changes, [len(flat)]))).astype(np.int64)


def compress(counts: Sequence[NDArray[Any]]) -> list[str]:
    """Run lengths of each of several masks as COCO's letters."""
    sizes = np.array([len(one) for one in counts], dtype=np.int64)
    if not sizes.sum():
        return [""] * len(counts)
    lengths = np.concatenate(counts).astype(np.int64)
    ends = np.cumsum(sizes)
    place = np.arange(len(lengths)) - np.repeat(ends - sizes, sizes)
    rest = lengths.copy()
    later = np.flatnonzero(place > 2)
    rest[later] -= lengths[later - 2]
    letters = np.zeros((len(rest), _MOST_LETTERS), dtype=np.uint8)
    unfinished = np.arange(len(rest))
    for column in range(_MOST_LETTERS):
        bits = rest & 0x1F
        rest = rest >> 5
        more = np.where(bits & 0x10, rest != -1, rest != 0)
        letters[unfinished, column] = bits + 48 + 32 * more
        unfinished, rest = unfinished[more], rest[more]
        if not len(rest):
            break
    used = np.cumsum((letters > 0).sum(axis=1))[ends - 1] if len(ends) else ends
    text = letters[letters > 0].tobytes().decode("ascii")
    return [text[begin:end] for begin, end in zip([0, *used[:-1].tolist()], used.tolist(), strict=True)]


def expand(text: str) -> Counts:
    """The inverse of `compress`."""
    letters = np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    ends = np.flatnonzero(letters < 32)
    starts = np.concatenate(([0], ends[:-1] + 1))[: len(ends)]
    number = np.repeat(np.arange(len(ends)), ends - starts + 1)
    place = np.arange(len(number)) - starts[number]
    values = np.zeros(len(ends), dtype=np.int64)
    np.add.at(values, number, (letters[: len(number)] & 0x1F) << (5 * place))
    negative = (letters[ends] & 0x10) != 0
    values[negative] -= np.int64(1) << (5 * (ends - starts + 1)[negative])
    # From the fourth on, each stands for its difference to the one two before.
    for parity in (1, 2):
        values[parity::2] = np.cumsum(values[parity::2])
    return values
