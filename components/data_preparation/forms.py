"""Checked pictures in the forms that other tools read: Azure's JSON Lines, COCO's JSON, YOLO's text files.

Masks go out as outlines along the edges of pixels, or as run lengths. Both are exact: read again, the masks
are the same, bit by bit.
"""

import json
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from maskline.annotations import Mask
from maskline.annotations.outlines import Ring, bridged, outlines
from maskline.annotations.yolo import CROWD, DATA

from .check import CheckedPicture
from .write import as_coco

IMAGES = "images"
"""Folder of the pictures, in every form."""
DIGITS = 9
"""Decimals of a fraction: a billionth of a side is far below the fifth of a pixel that decides a mask."""
_TABLE = """type: mltable
paths:
  - file: ./annotations.jsonl
transformations:
  - read_json_lines: {encoding: utf8, invalid_lines: error, include_path_column: false}
  - convert_column_types:
      - {columns: image_url, column_type: stream_info}
"""

Named = tuple[str, CheckedPicture]
"""The path of a picture below IMAGES, with slashes, and the picture."""


def write_coco(folder: Path, pictures: Sequence[Named], classes: Sequence[str]) -> None:
    """Write `annotations.json`; masks are compressed run lengths, `file_name` is relative to `images/`."""
    data = as_coco((picture for _, picture in pictures), classes)
    for image, (name, _) in zip(data["images"], pictures, strict=True):
        image["file_name"] = name
    (folder / "annotations.json").write_text(json.dumps(data) + "\n", encoding="utf-8")


def write_azure(folder: Path, pictures: Sequence[Named], prefix: str = "") -> None:
    """Write `annotations.jsonl` and `MLTable`.

    The rings of an object don't overlap, a hole lies in its part, and all coordinates are in [0, 1]: what
    Azure's trainer needs, which combines rings by XOR and drops a ring that leaves the picture.

    Args:
        folder: where to.
        pictures: their names and masks.
        prefix: what stands before `images/NAME` in `image_url`, such as
            `azureml://datastores/NAME/paths/FOLDER`; empty makes paths relative to the file.
    """
    start = f"{prefix.rstrip('/')}/" if prefix else ""
    with (folder / "annotations.jsonl").open("w", encoding="utf-8") as stream:
        for name, picture in pictures:
            record = {
                "image_url": f"{start}{IMAGES}/{name}",
                "image_details": {
                    "format": PurePosixPath(name).suffix.lstrip(".").lower(),
                    "width": picture.width,
                    "height": picture.height,
                },
                "label": [
                    {"label": o.label, "isCrowd": int(o.crowd), "polygon": _polygon(o.mask)}
                    for o in picture.objects
                ],
            }
            stream.write(json.dumps(record) + "\n")
    (folder / "MLTable").write_text(_TABLE, encoding="utf-8")


def write_yolo(folder: Path, pictures: Sequence[Named], classes: Sequence[str]) -> None:
    """Write `data.yaml`, a text file a picture in `labels/`, and `crowd.jsonl` where there are crowd regions.

    A picture without objects gets an empty text file. `data.yaml` names no `val`: which pictures to hold
    out is for its user to say.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    crowd: list[dict[str, Any]] = []
    for name, picture in pictures:
        lines = []
        for found in picture.objects:
            if found.crowd:
                runs = {"size": [found.mask.height, found.mask.width], "counts": found.mask.counts}
                crowd.append({"image": f"{IMAGES}/{name}", "label": found.label, "segmentation": runs})
            else:
                points = _fractions(bridged(outlines(found.mask)), found.mask)
                lines.append(f"{numbers[found.label]} {' '.join(f'{v:.{DIGITS}g}' for v in points)}\n")
        file = (folder / "labels" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(lines), encoding="ascii")
    data = {"train": IMAGES, "names": dict(enumerate(classes))}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    (folder / DATA).write_text("# add val: the folder of pictures to validate on\n" + text, encoding="utf-8")
    if crowd:
        (folder / CROWD).write_text("".join(json.dumps(c) + "\n" for c in crowd), encoding="utf-8")


def _polygon(mask: Mask) -> list[list[float]]:
    return [_fractions(ring, mask) for ring in outlines(mask)]


def _fractions(ring: Ring, mask: Mask) -> list[float]:
    """x1, y1, x2, y2 ... in fractions of the picture's width and height."""
    values: list[float] = np.round(ring / np.array([mask.width, mask.height]), DIGITS).ravel().tolist()
    return values
