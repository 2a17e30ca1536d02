"""Pictures that are all but the same: re-encoded, resized or brightened copies."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from maskline.pictures import scaled_grey

SIDE = 64
FREQUENCIES = 16
MOST_DIFFERENT = 26
"""Bits of 256 in which the fingerprints of two pictures may differ and the pictures still count as copies."""
LEAST_CONTRAST = 2.0
"""Standard deviation of grey values below which a picture is too plain to be compared."""
_BLOCK = 2048
_COSINES = np.cos(
    np.pi / SIDE * (np.arange(SIDE) + 0.5) * np.arange(FREQUENCIES + 1)[:, None], dtype=np.float64
).astype(np.float32)


def fingerprint(file: str) -> NDArray[np.bool_] | None:
    """What a picture looks like, in 256 bits; None if it is too plain to tell.

    The perceptual hash of Zauner, "Implementation and benchmarking of perceptual image hash functions"
    (2010): which of the lowest frequencies of the cosine transform are above their median.

    Raises:
        DataError: the picture can't be decoded.
    """
    grey = scaled_grey(file, SIDE)
    if grey.std() < LEAST_CONTRAST:
        return None
    low = (_COSINES @ grey @ _COSINES.T)[1:, 1:]
    bits: NDArray[np.bool_] = (low > np.median(low)).ravel()
    return bits


def copies(new: Sequence[NDArray[np.bool_]], known: Sequence[NDArray[np.bool_]]) -> Iterator[tuple[int, int]]:
    """For each new fingerprint the nearest known one, if it is near enough, as (index, index)."""
    if not known:
        return
    signs = np.where(np.stack(known), 1, -1).astype(np.float32)
    for start in range(0, len(new), _BLOCK):
        some = np.where(np.stack(new[start : start + _BLOCK]), 1, -1).astype(np.float32)
        best = np.full(len(some), -np.inf, dtype=np.float32)
        place = np.zeros(len(some), dtype=np.int64)
        for offset in range(0, len(signs), _BLOCK):
            alike = some @ signs[offset : offset + _BLOCK].T
            nearest = alike.argmax(axis=1)
            value = alike[np.arange(len(some)), nearest]
            better = value > best
            best[better], place[better] = value[better], nearest[better] + offset
        different = (some.shape[1] - best) / 2
        for index in np.flatnonzero(different <= MOST_DIFFERENT).tolist():
            yield start + index, int(place[index])
