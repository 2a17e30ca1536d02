"""Pictures with masks over them."""

import colorsys
import io
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from . import rle

Colour = tuple[int, int, int]

PALETTE: tuple[Colour, ...] = (
    (86, 180, 233),
    (240, 228, 66),
    (204, 121, 167),
    (0, 158, 115),
    (230, 159, 0),
    (0, 114, 178),
    (213, 94, 0),
)
"""Okabe and Ito's colours, those first that stand out on photographs."""
CROWD: Colour = (128, 128, 128)
OPACITY = 0.45
WIDEST, TALLEST = 480, 640
UNIT = 800
"""Pixels of a picture's longer side for each pixel of an outline's width; letters are 11 times as high."""
LABELLED = 20
"""How many detections of a picture carry a label; more would hide what they are about."""


def class_colours(count: int) -> dict[int, Colour]:
    """A colour for each category id 1 ... count; those after the palette's are spread over the hues."""
    return {number: _colour(number - 1) for number in range(1, count + 1)}


def overlay_masks(
    image: Image.Image,
    results: Sequence[Mapping[str, Any]],
    colours: Mapping[int, Colour],
    names: Mapping[int, str] | None = None,
    least: int = 0,
    largest: tuple[int, int] = (WIDEST, TALLEST),
) -> Image.Image:
    """A copy of the picture with masks, outlines and labels over it.

    Args:
        image: RGB, at the size that the masks have.
        results: COCO results or annotations: segmentation, category_id, and score or iscrowd where they
            have them. Those with higher scores lie on top; without scores, smaller ones do.
        colours: by category id.
        names: what labels say before the score, by category id; no names, no labels without a score. A name
            with letters that the font lacks, as Chinese ones, becomes the class's number.
        least: width in pixels that smaller pictures are enlarged to.
        largest: width and height in pixels that larger ones are reduced to.
    """
    width, height = image.size
    factor = min(largest[0] / width, largest[1] / height, max(1.0, least / width))
    size = max(1, round(width * factor)), max(1, round(height * factor))
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    canvas = np.array(small)
    unit = max(1, max(size) // UNIT)
    encoded = [_compressed(found["segmentation"], height, width) for found in results]
    areas = [int(rle.expand(mask["counts"])[1::2].sum()) for mask in encoded]
    order = sorted(range(len(results)), key=lambda i: (results[i].get("score", 0.0), -areas[i]))
    labels = []
    for index in order:
        found = results[index]
        colour = CROWD if found.get("iscrowd") else colours[found["category_id"]]
        mask = _resized(rle.decode(encoded[index]), small.size)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if len(rows):
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            _paint(canvas[box], mask[box], colour, unit)
            labels.append((_label(found, names or {}), colour, (int(columns[0]), int(rows[0]))))
    drawn = Image.fromarray(canvas)
    pen = ImageDraw.Draw(drawn)
    for text, colour, corner in labels[-LABELLED:]:
        if text:
            _write(pen, text, colour, corner, drawn.size, unit)
    return drawn


def jpeg_uri(image: Image.Image) -> str:
    """A picture as a JPEG in a `data:` URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=82, optimize=True)
    from .page import data_uri

    return data_uri(buffer.getvalue(), "image/jpeg")


def css(colour: Colour) -> str:
    """A colour as CSS writes it."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _colour(index: int) -> Colour:
    if index < len(PALETTE):
        return PALETTE[index]
    # Steps of the golden ratio spread any number of hues evenly.
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.65, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def _resized(mask: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask (height, width) at another size (width, height): a pixel is in where half of it is."""
    if mask.shape == size[::-1]:
        return mask.astype(bool)
    full = Image.fromarray(mask * np.uint8(255))
    small = np.asarray(full.resize(size, Image.Resampling.BOX))
    # What is thinner than a pixel stays visible.
    return small >= (128 if (small >= 128).any() else 1)


def _paint(canvas: NDArray[np.uint8], mask: NDArray[np.bool_], colour: Colour, unit: int) -> None:
    """Fill a mask, and draw its outline, `unit` pixels wide, along its inner side."""
    paint = np.array(colour, dtype=np.float32)
    canvas[mask] = np.rint(canvas[mask] * np.float32(1 - OPACITY) + paint * np.float32(OPACITY))
    canvas[mask & ~_shrunk(mask, unit)] = colour


def _shrunk(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    """A mask without the pixels that have one outside it, or an edge, at most `by` away."""
    for _ in range(2):  # up and down, then left and right
        inside = mask.copy()
        inside[:by] = inside[-by:] = False
        for away in range(1, by + 1):
            inside[away:] &= mask[:-away]
            inside[:-away] &= mask[away:]
        mask = inside.T
    return mask


def _label(found: Mapping[str, Any], names: Mapping[int, str]) -> str:
    name = "crowd" if found.get("iscrowd") else names.get(found["category_id"], "")
    if not all(_drawable(letter) for letter in name):
        name = f"class {found['category_id']}"
    score = f"{found['score']:.2f}" if "score" in found else ""
    return " ".join(part for part in (name if len(name) <= 18 else name[:17] + "…", score) if part)


def _write(
    pen: ImageDraw.ImageDraw,
    text: str,
    colour: Colour,
    corner: tuple[int, int],
    size: tuple[int, int],
    unit: int,
) -> None:
    """A label on a chip of the class's colour, at the top left of the mask and inside the picture."""
    font, margin = _font(unit), 2 * unit
    left, top, right, bottom = pen.textbbox((0, 0), text, font=font)
    width, height = right - left + 2 * margin, bottom - top + 2 * margin
    if width > size[0] or height > size[1]:
        return  # it would hide the whole picture
    x, y = min(corner[0], size[0] - width), min(corner[1], size[1] - height)
    pen.rectangle((x, y, x + width, y + height), fill=colour)
    # ITU-R BT.601 luma decides between black and white letters.
    dark = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] < 140
    pen.text((x + margin - left, y + margin - top), text, font=font, fill="white" if dark else "black")


def _compressed(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    if isinstance(segmentation, Mapping) and isinstance(segmentation["counts"], str):
        return dict(segmentation)
    from .coco_forms import as_rle  # needs hotcoco, which predictions do without

    found = as_rle(segmentation, height, width)
    return {**found, "counts": bytes(found["counts"]).decode("ascii")}


@cache
def _drawable(letter: str) -> bool:
    """Whether the font has a letter; what it lacks is drawn as what no font has."""
    try:
        return letter.isspace() or bytes(_font().getmask(letter)) != bytes(_font().getmask("\uffff"))
    except UnicodeError:  # Pillow's oldest font
        return False


@cache
def _font(unit: int = 1) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    # matplotlib carries a font with Latin, Greek and Cyrillic letters; Pillow's own has Latin only.
    try:
        import matplotlib
    except ImportError:
        return ImageFont.load_default(11 * unit)
    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), 11 * unit)
