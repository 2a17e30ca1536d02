"""Random views of training pictures: what is drawn, and what it does to pixels, boxes and masks.

A view is a part of a picture, resized, laid on a canvas, and perhaps flipped. Masks are looked up through
the same view, so none is ever resized.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .advanced import AdvancedSettings
from .resampling import resampled
from .run_lengths import Integers, nearest

FILL = (124, 116, 104)
"""Mean colour of ImageNet's pictures, around a picture that doesn't fill its canvas."""
ZOOM_IN = 1.29
"""A mild zoom shows at least 60 % of a picture's area, as Azure ML's crop."""
ZOOM_OUT = 0.5
"""It shrinks a picture to half its sides at most, as Azure ML's expansion does."""
LARGE_SCALE = (0.1, 2.0)
"""Ghiasi et al. 2021, Simple Copy-Paste is a Strong Data Augmentation, https://arxiv.org/abs/2012.07177."""
SMALLEST = 0.8
"""Scale jitter: a training picture has at least this share of the size asked for."""
BOX_ROUNDING = 1e-3
"""Pixels by which a box may leave the picture by the rounding of its numbers."""
COLOUR = 0.2
"""Brightness, contrast and saturation change by this share at most. Hue is left: it often tells the class."""

Size = tuple[int, int]


@dataclass(frozen=True)
class View:
    """Which part of a picture is seen, where, and how large.

    All numbers are pixels, width before height.

    Attributes:
        window: x, y, width, height of the part, in the picture as it was decoded.
        part: size that it is resized to.
        canvas: size of the result.
        place: x, y of the part on the canvas, before the flip.
        flip: the canvas is turned left to right.
    """

    window: tuple[int, int, int, int]
    part: Size
    canvas: Size
    place: tuple[int, int] = (0, 0)
    flip: bool = False

    def pixels(self, picture: NDArray[np.uint8]) -> Tensor:
        """The view of a picture (height, width, 3), as uint8 (3, height, width)."""
        x, y, width, height = self.window
        seen = torch.from_numpy(picture[y : y + height, x : x + width]).permute(2, 0, 1)
        if (width, height) != self.part:
            seen = resampled(seen, self.part[::-1])
        if self.part != self.canvas:
            left, top = self.place
            fill = torch.tensor(FILL, dtype=torch.uint8)[:, None, None]
            canvas = fill.expand(3, self.canvas[1], self.canvas[0]).clone()
            canvas[:, top : top + self.part[1], left : left + self.part[0]] = seen
            seen = canvas
        return (seen.flip(-1) if self.flip else seen).contiguous()

    def grid(self, original: Size, decoded: Size) -> tuple[Integers, Integers]:
        """Columns and rows of the original picture under the part's columns and rows."""
        columns, rows = (
            nearest(side, wanted, start * side / own, length * side / own)
            for side, own, start, length, wanted in zip(
                original, decoded, self.window[:2], self.window[2:], self.part, strict=True
            )
        )
        return columns, rows

    def boxes(self, boxes: Tensor, original: Size, decoded: Size) -> tuple[Tensor, Tensor]:
        """Boxes of the original picture on the canvas.

        Args:
            boxes: (n, 4) float64, x1 y1 x2 y2 in pixels.
            original: width and height of the picture.
            decoded: width and height as it was decoded.

        Returns:
            The boxes, float32, cut to the part; and (n,) bool, which of them reach beyond the window.
        """
        moved = boxes.clone()
        for axis in (0, 1):
            own = decoded[axis] / original[axis]
            scale = self.part[axis] / self.window[2 + axis]
            moved[:, axis::2] = (boxes[:, axis::2] * own - self.window[axis]) * scale
        most = torch.tensor(self.part * 2)
        inside = moved.clamp(min=torch.zeros(4), max=most.double())
        beyond = ((inside - moved).abs() > BOX_ROUNDING).any(1)
        inside += torch.tensor(self.place * 2)
        if self.flip:
            inside[:, 0::2] = self.canvas[0] - inside[:, [2, 0]]
        return inside.float(), beyond


def whole(decoded: Size, canvas: Size) -> View:
    """The whole picture at the size of the canvas: no augmentation."""
    return View(window=(0, 0, *decoded), part=canvas, canvas=canvas)


def draw_view(random: np.random.Generator, decoded: Size, size: Size, advanced: AdvancedSettings) -> View:
    """A random view.

    Args:
        random: what is drawn depends on it alone.
        decoded: width and height of the picture as it was decoded.
        size: of the picture as the network will see it when it detects.
        advanced: horizontal_flip and large_scale_jitter are read.
    """
    flip = bool(advanced.horizontal_flip and random.random() < 0.5)
    zoom = _zoom(random, advanced.large_scale_jitter)
    jitter = random.uniform(SMALLEST, 1) if random.random() < 0.5 else 1.0
    canvas = _scaled(size, jitter)
    part, window = canvas, decoded
    if zoom < 1:
        part = _scaled(canvas, zoom)
    if zoom > 1:
        window = _scaled(decoded, 1 / zoom)
    return View(
        window=(*_somewhere(random, window, decoded), *window),
        part=part,
        canvas=canvas,
        place=_somewhere(random, part, canvas),
        flip=flip,
    )


def _zoom(random: np.random.Generator, large: bool) -> float:
    if large:
        return float(random.uniform(*LARGE_SCALE))
    kind = random.random()
    if kind < 0.5:
        return 1.0
    return float(random.uniform(1, ZOOM_IN) if kind < 0.75 else 1 / random.uniform(1, 1 / ZOOM_OUT))


def _scaled(size: Size, factor: float) -> Size:
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _somewhere(random: np.random.Generator, small: Size, large: Size) -> tuple[int, int]:
    x, y = (int(random.integers(0, most - own + 1)) for own, most in zip(small, large, strict=True))
    return x, y


def change_colour(random: np.random.Generator, picture: Tensor) -> Tensor:
    """A picture, uint8 (3, H, W), with another brightness, contrast and saturation, half of the time.

    The three are one linear map of red, green and blue, so all pixels are gone through once.
    """
    if random.random() < 0.5:
        return picture
    brightness, contrast, saturation = random.uniform(1 - COLOUR, 1 + COLOUR, 3)
    pixels = picture.reshape(3, -1).float()
    grey = torch.tensor([[0.299, 0.587, 0.114]])  # ITU-R BT.601
    mean = float((grey @ pixels.mean(1, keepdim=True)).item())
    colours = saturation * torch.eye(3) + (1 - saturation) * grey.expand(3, 3)
    changed: Tensor = (brightness * contrast * colours) @ pixels
    changed += brightness * (1 - contrast) * mean
    return changed.round_().clamp_(0, 255).to(torch.uint8).view(picture.shape)
