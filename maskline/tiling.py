"""A picture as windows: itself and a grid of overlapping tiles, so that small objects are seen large."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .errors import DataError

if TYPE_CHECKING:
    from .settings import TrainingSettings


class Window(NamedTuple):
    """A part of a picture, in whole pixels of it."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class Tiling:
    """A grid of tiles of one size that cover a picture exactly; the rule is that of Azure ML.

    Attributes:
        columns: tiles along the width.
        rows: tiles along the height.
        overlap: share of a tile's side that it has in common with the next one; 0 <= overlap < 1.
        threshold: mask IoU above which detections of different windows are one object; 0 ... 1.

    Raises:
        ValueError: a value is outside its range, or there is one tile only.
    """

    columns: int
    rows: int
    overlap: float = 0.25
    threshold: float = 0.25

    def __post_init__(self) -> None:
        if self.columns < 1 or self.rows < 1 or self.columns * self.rows < 2:
            raise ValueError(
                f"a grid of {self.columns}x{self.rows} cuts nothing; give at least two tiles, such as 2x1"
            )
        if not 0 <= self.overlap < 1:
            raise ValueError(
                f"tile_overlap_ratio={self.overlap} is outside [0, 1): at 1 a tile never moves on"
            )
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"tile_predictions_nms_threshold={self.threshold} is outside [0, 1]")

    @classmethod
    def parse(cls, grid: str, overlap: float = 0.25, threshold: float = 0.25) -> "Tiling":
        """The tiling that a text like `3x2`, `3X2` or `(3, 2)` means: columns x rows, as Azure reads it.

        Raises:
            ValueError: the text is no grid, or see the class.
        """
        sides = re.fullmatch(r"\(?\s*([0-9]+)\s*[xX,]\s*([0-9]+)\s*\)?", grid)
        if sides is None:
            raise ValueError(f"{grid!r} is not a grid; give the tiles along width and height, e.g. 3x2")
        return cls(int(sides[1]), int(sides[2]), overlap, threshold)

    @classmethod
    def of(cls, settings: "TrainingSettings") -> "Tiling | None":
        """The tiling that settings ask for, if any."""
        if settings.tile_grid_size is None:
            return None
        return cls.parse(
            settings.tile_grid_size, settings.tile_overlap_ratio, settings.tile_predictions_nms_threshold
        )

    @property
    def grid(self) -> str:
        """Columns x rows, such as `3x2`."""
        return f"{self.columns}x{self.rows}"

    def fits(self, width: int, height: int) -> bool:
        """Whether the grid isn't finer than the picture: each tile begins a pixel or more after the last."""
        return all(
            number == 1 or (1 - self.overlap) * size / (self.overlap + (1 - self.overlap) * number) >= 1
            for size, number in ((width, self.columns), (height, self.rows))
        )

    def windows(self, width: int, height: int) -> list[Window]:
        """The tiles of a picture, row by row from the top left.

        A tile of n along a side of S pixels has S / (overlap + (1 - overlap) n) of them, and the next one
        starts (1 - overlap) of that further on. Both edges are rounded; the last tile ends with the picture.

        Raises:
            DataError: the grid is finer than the picture: tiles would begin at the same pixel.
        """
        if not self.fits(width, height):
            raise DataError(
                f"a picture of {width} x {height} pixels can't be cut into {self.grid} tiles that overlap by "
                f"{self.overlap:g}: each has to begin at least a pixel after the one before; choose a "
                "coarser grid, or a lower tile_overlap_ratio"
            )
        across, down = (self._edges(*side) for side in ((width, self.columns), (height, self.rows)))
        return [
            Window(left, top, right - left, bottom - top) for top, bottom in down for left, right in across
        ]

    def _edges(self, size: int, number: int) -> list[tuple[int, int]]:
        side = size / (self.overlap + (1 - self.overlap) * number)
        starts = [(1 - self.overlap) * side * place for place in range(number)]
        return [(round(start), min(size, round(start + side))) for start in starts]

    def views(self, width: int, height: int) -> list[Window]:
        """The whole picture, then its tiles; a picture that the grid is too fine for is seen as a whole only.

        So one tiny picture ends neither a training nor a prediction.
        """
        whole = Window(0, 0, width, height)
        return [whole, *self.windows(width, height)] if self.fits(width, height) else [whole]
