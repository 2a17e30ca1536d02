"""A bounded store of decoded pictures that all loading processes share."""

import mmap
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
MIB = 2**20


class PictureCache:
    """Pictures of known sizes, kept once decoded, as many as fit into a number of bytes.

    The memory is mapped when the cache is made, before loading processes are forked, and shared by them: what
    one has decoded all have. (It is no file and needs no /dev/shm.) Pages are taken as they fill.
    Each picture has its own place from the start, and whoever fills it writes the same bytes; so no locks.
    Which pictures have a place is decided by their order; the others are made anew each time.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]], limit: int) -> None:
        """Lay out the places.

        Args:
            sizes: width and height in pixels of each picture.
            limit: bytes; above this nothing is kept.
        """
        self._sizes = sizes
        self._places: dict[int, int] = {}
        end = 0
        for index, (width, height) in enumerate(sizes):
            if end + 3 * width * height <= limit - len(sizes):
                self._places[index] = end
                end += 3 * width * height
        self.bytes = end
        memory = mmap.mmap(-1, max(end + len(sizes), 1))
        self._pixels = np.frombuffer(memory, dtype=np.uint8, count=end)
        self._filled = np.frombuffer(memory, dtype=np.uint8, count=len(sizes), offset=end)

    def __len__(self) -> int:
        """How many pictures are kept by now."""
        return int(self._filled.sum())

    def get(self, index: int, make: Callable[[], Pixels]) -> Pixels:
        """The picture, (height, width, 3); made if it isn't there. Not to be written to."""
        if index not in self._places:
            return make()
        width, height = self._sizes[index]
        start = self._places[index]
        kept = self._pixels[start : start + 3 * width * height].reshape(height, width, 3)
        if not self._filled[index]:
            kept[:] = make()
            self._filled[index] = 1
        return kept
