"""What a model finds on one picture."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import rle


@dataclass(frozen=True)
class Detections:
    """What a model finds on one picture.

    Attributes:
        width, height: of the upright picture, in pixels.
        boxes: (n, 4) float32, x1 y1 x2 y2 in pixels of that picture.
        labels: (n,) int64, from 1; classes[label - 1] is the name.
        scores: (n,) float32 in 0 ... 1, in falling order.
        masks: n masks as COCO's compressed RLE, `{"size": [height, width], "counts": str}`.
        classes: names of the model's classes.
    """

    width: int
    height: int
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    scores: NDArray[np.float32]
    masks: list[dict[str, Any]] = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.scores)

    @property
    def names(self) -> list[str]:
        """The class of each detection."""
        return [self.classes[label - 1] for label in self.labels.tolist()]

    def mask(self, index: int) -> NDArray[np.uint8]:
        """One mask, (height, width), 1 on the object."""
        return rle.decode(self.masks[index])
