"""A small data set that is drawn here, free of anybody's rights: shapes on noisy grounds, in Azure's form."""

import json
from collections.abc import Callable
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .annotations import mask_to_rings
from .errors import JobError

CLASSES = ("disc", "ring", "square", "triangle")
FOLDERS = ("train", "validation")
ANNOTATIONS = "annotations.jsonl"
_MLTABLE = f"""type: mltable
paths:
  - file: ./{ANNOTATIONS}
transformations:
  - read_json_lines:
      encoding: utf8
      invalid_lines: error
      include_path_column: false
  - convert_column_types:
      - columns: image_url
        column_type: stream_info
"""
_HELD_OUT = 5  # every fifth picture is for validation
_SIDES = (26, 64)
_HUES = {"disc": 0.0, "ring": 0.6, "square": 0.33, "triangle": 0.13}
_MOST_OBJECTS = 5
_LEAST_VISIBLE = 0.5
_SUPERSAMPLING = 3

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass
class _Object:
    label: str
    visible: Mask
    area: int


def write_sample_data(folder: str | Path, *, pictures: int = 200, size: int = 128, seed: int = 0) -> Path:
    """Draw pictures with discs, rings, squares and triangles, and write them as two MLTable folders.

    Shapes are 26 to 64 pixels wide and turned at random. A class has its usual colour, from which its objects
    stray, so that colour hints at the class and form decides. A later shape hides what is under it; masks are
    of what can be seen, and a shape that loses more than half of its pixels is no object any more. Every
    twelfth picture has no shape at all.

    Args:
        folder: is made; `train/` and `validation/` in it each have an `MLTable` file, `annotations.jsonl`
            and `images/`. Every fifth picture is for validation.
        pictures: how many to draw, 10 or more.
        size: width and height of the pictures in pixels, 64 or more.
        seed: the same seed draws the same pictures.

    Returns:
        The folder.

    Raises:
        JobError: the folder is there and isn't empty, or `pictures` or `size` is too small.
    """
    target = Path(folder)
    if pictures < 10 or size < 64:
        raise JobError(f"pictures={pictures} must be 10 or more, and size={size} 64 or more")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise JobError(f"{target} is not empty; name a new folder")
    lines: dict[str, list[str]] = {name: [] for name in FOLDERS}
    for name in FOLDERS:
        (target / name / "images").mkdir(parents=True)
        (target / name / "MLTable").write_text(_MLTABLE, encoding="utf-8")
    for number in range(pictures):
        rng = np.random.default_rng([seed, number])
        picture, objects = _draw(rng, size, background=number % 12 == 7)
        part = FOLDERS[number % _HELD_OUT == _HELD_OUT - 1]
        name = f"images/{number:04d}.png"
        Image.fromarray(picture).save(target / part / name, compress_level=1)
        lines[part].append(json.dumps(_record(name, size, objects)))
    for part, records in lines.items():
        (target / part / ANNOTATIONS).write_text("\n".join(records) + "\n", encoding="utf-8")
    return target


def _record(name: str, size: int, objects: list[_Object]) -> dict[str, Any]:
    """A line of Azure's JSON Lines; points are fractions of the picture's sides."""
    labels = [
        {
            "label": found.label,
            "isCrowd": 0,
            "polygon": [(ring / size).ravel().tolist() for ring in mask_to_rings(found.visible)],
        }
        for found in objects
    ]
    details = {"format": "png", "width": size, "height": size}
    return {"image_url": name, "image_details": details, "label": labels}


def _draw(
    rng: np.random.Generator, size: int, *, background: bool
) -> tuple[NDArray[np.uint8], list[_Object]]:
    """A picture (size, size, 3) and what can be seen on it."""
    canvas = _ground(rng, size)
    objects: list[_Object] = []
    for _ in range(0 if background else rng.integers(1, _MOST_OBJECTS + 1)):
        label = CLASSES[rng.integers(len(CLASSES))]
        cover = _cover(rng, size, label)
        mask = cover >= 0.5
        for earlier in objects:
            earlier.visible &= ~mask
        objects.append(_Object(label, mask, int(mask.sum())))
        shade = 1 + rng.uniform(-0.25, 0.25) * _slope(rng, size)
        colour = _colour(label, rng)
        canvas += cover[..., None] * (np.clip(colour * shade[..., None], 0, 255) - canvas)
    canvas += rng.normal(0, rng.uniform(3, 10), canvas.shape)
    kept = [found for found in objects if found.visible.sum() >= _LEAST_VISIBLE * found.area]
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), kept


def _ground(rng: np.random.Generator, size: int) -> Floats:
    """A gradient between two dull colours."""
    start, end = rng.uniform(70, 190, (2, 1)) + rng.uniform(-25, 25, (2, 3))
    slope = (_slope(rng, size)[..., None] + 1) / 2
    found: Floats = start + (end - start) * slope
    return found


def _slope(rng: np.random.Generator, size: int) -> Floats:
    """A plane in a random direction, -1 to 1."""
    angle = rng.uniform(0, 2 * np.pi)
    steps = np.linspace(-1, 1, size)
    found: Floats = (np.cos(angle) * steps + np.sin(angle) * steps[:, None]) / np.sqrt(2)
    return found


def _colour(label: str, rng: np.random.Generator) -> Floats:
    """A lively colour around the one that the class usually has."""
    hue = (_HUES[label] + rng.normal(0, 0.06)) % 1
    return 255 * np.array(hsv_to_rgb(hue, rng.uniform(0.55, 1), rng.uniform(0.55, 1)))


def _cover(rng: np.random.Generator, size: int, label: str) -> Floats:
    """How much of each pixel a shape in a random circle covers, 0 to 1; it lies inside the picture."""
    side = rng.uniform(_SIDES[0], min(_SIDES[1], size * 0.6))
    reach = side / 2
    centre = rng.uniform(reach, size - reach, 2)
    angle = rng.uniform(0, 2 * np.pi)
    found = np.zeros((size, size))
    first = np.floor(centre - reach).astype(int)  # only the shape's surroundings are computed
    count = int(np.ceil(2 * reach)) + 1
    steps = (np.arange(count * _SUPERSAMPLING) + 0.5) / _SUPERSAMPLING
    x, y = np.meshgrid(*((steps + first[axis] - centre[axis]) / (side / 2) for axis in (0, 1)))
    turned = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    blocks = _SHAPES[label](*turned).reshape(count, _SUPERSAMPLING, count, _SUPERSAMPLING).mean(axis=(1, 3))
    place = found[first[1] : first[1] + count, first[0] : first[0] + count]
    place[:] = blocks[: place.shape[0], : place.shape[1]]
    return found


def _disc(x: Floats, y: Floats) -> Mask:
    return np.asarray(x * x + y * y <= 1)


def _ring(x: Floats, y: Floats) -> Mask:
    squared = x * x + y * y
    return np.asarray((squared <= 1) & (squared >= 0.2))


def _square(x: Floats, y: Floats) -> Mask:
    return np.asarray(np.maximum(np.abs(x), np.abs(y)) <= np.sqrt(0.5))


def _triangle(x: Floats, y: Floats) -> Mask:
    return np.asarray((y >= -0.5) & (y + np.sqrt(3) * np.abs(x) <= 1))


_SHAPES: dict[str, Callable[[Floats, Floats], Mask]] = {
    "disc": _disc,
    "ring": _ring,
    "square": _square,
    "triangle": _triangle,
}
