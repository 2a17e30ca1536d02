"""Checked pictures in the forms that other tools read: Azure's JSON Lines, COCO's JSON, YOLO's text files.

Masks go out as outlines along the edges of pixels, or as run lengths. Both are exact: read again, the masks
are the same, bit by bit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from maskline.annotations import Mask
from maskline.annotations.bridges import bridged, outlines
from maskline.annotations.yolo import CROWD, DATA
from maskline.outlines import Ring, is_hole

from .check import CheckedObject, CheckedPicture
from .workers import in_order
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
        for line in in_order(partial(_azure_line, start), pictures, _name):
            stream.write(line)
    (folder / "MLTable").write_text(_TABLE, encoding="utf-8")


@dataclass(frozen=True)
class Joined:
    """Objects that are one ring in YOLO's form and weren't before: with holes, and of several parts."""

    holed: int
    several: int


def write_yolo(folder: Path, pictures: Sequence[Named], classes: Sequence[str]) -> Joined:
    """Write `data.yaml`, a text file a picture in `labels/`, and `crowd.jsonl` where there are crowd regions.

    A picture without objects gets an empty text file. `data.yaml` names no `val`: which pictures to hold
    out is for its user to say.
    """
    numbers = {name: number for number, name in enumerate(classes)}
    crowd: list[dict[str, Any]] = []
    holed = several = 0
    texts = in_order(partial(_yolo_text, numbers), pictures, _name)
    for (name, picture), (text, joined) in zip(pictures, texts, strict=True):
        holed, several = holed + joined.holed, several + joined.several
        crowd += [_crowd(name, found) for found in picture.objects if found.crowd]
        file = (folder / "labels" / name).with_suffix(".txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="ascii")
    data = {"train": IMAGES, "names": dict(enumerate(classes))}
    listed = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=1000)
    (folder / DATA).write_text(
        f"# add val: the folder of pictures to validate on\n{listed}", encoding="utf-8"
    )
    if crowd:
        (folder / CROWD).write_text("".join(json.dumps(c) + "\n" for c in crowd), encoding="utf-8")
    return Joined(holed, several)


def _name(named: Named) -> str:
    return named[1].where


def _azure_line(start: str, named: Named) -> str:
    name, picture = named
    details = {"format": PurePosixPath(name).suffix.lstrip(".").lower()}
    record = {
        "image_url": f"{start}{IMAGES}/{name}",
        "image_details": {**details, "width": picture.width, "height": picture.height},
        "label": [
            {"label": o.label, "isCrowd": int(o.crowd), "polygon": _polygon(o.mask)} for o in picture.objects
        ],
    }
    return json.dumps(record) + "\n"


def _yolo_text(numbers: Mapping[str, int], named: Named) -> tuple[str, Joined]:
    lines = []
    holed = several = 0
    for found in named[1].objects:
        if found.crowd:
            continue
        rings = outlines(found.mask)
        holes = sum(map(is_hole, rings))
        holed, several = holed + (holes > 0), several + (len(rings) - holes > 1)
        points = _fractions(bridged(rings), found.mask)
        lines.append(f"{numbers[found.label]} {' '.join(f'{v:.{DIGITS}g}' for v in points)}\n")
    return "".join(lines), Joined(holed, several)


def _crowd(name: str, found: CheckedObject) -> dict[str, Any]:
    runs = {"size": [found.mask.height, found.mask.width], "counts": found.mask.counts}
    return {"image": f"{IMAGES}/{name}", "label": found.label, "segmentation": runs}


def _polygon(mask: Mask) -> list[list[float]]:
    return [_fractions(ring, mask) for ring in outlines(mask)]


def _fractions(ring: Ring, mask: Mask) -> list[float]:
    """x1, y1, x2, y2 ... in fractions of the picture's width and height."""
    values: list[float] = np.round(ring / np.array([mask.width, mask.height]), DIGITS).ravel().tolist()
    return values
