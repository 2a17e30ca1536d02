"""Predictions on disk, written while they come: one class for each form."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, TextIO

from PIL import Image

from . import answers
from .answers import line
from .detections import Detections
from .errors import DataError
from .inference import files_of

OVERLAY = ".overlay.jpg"
JPEG_SIDE = 65_500
"""Pixels of a side that libjpeg writes at the most."""
LEGIBLE = 512
"""Pixels of a side up to which overlays are enlarged."""


@dataclass(frozen=True)
class Named:
    """A picture and the name that its answer has: unique, with the folders below the one that was given."""

    name: str
    file: Path


def named(places: Sequence[str | os.PathLike[str]]) -> list[Named]:
    """The pictures of files and folders; of two that would have one name, the later gets a number.

    Raises:
        DataError: a folder holds no picture.
    """
    used: set[str] = set()
    found = []
    for place in map(Path, places):
        for file in files_of(place):
            name = str(file.relative_to(place)) if place.is_dir() else file.name
            found.append(Named(_free(name, used), file))
    return found


def _free(name: str, used: set[str]) -> str:
    """The name, or one with a number, whose stem nobody has: `a.jpg` and `a.png` both make `a.json`."""
    stem, suffix = os.path.splitext(name)
    candidate, number = stem, 1
    while candidate.casefold() in used:
        number += 1
        candidate = f"{stem}-{number}"
    used.add(candidate.casefold())
    return candidate + suffix


@dataclass
class Lines:
    """Azure ML's response form: a line of JSON a picture, `{"filename": ..., "boxes": [...]}`."""

    stream: TextIO

    def __call__(self, name: str, file: Path, found: Detections) -> None:
        """Write one answer."""
        self.stream.write(line({"filename": name, **answers.azure(found)}) + "\n")
        self.stream.flush()

    def close(self) -> None:
        """Nothing is left to be written."""


@dataclass
class Coco:
    """One COCO file: images, annotations with a score and masks as RLE, categories; ids from 1."""

    stream: TextIO
    classes: Sequence[str]
    images: list[dict[str, object]] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        self.stream.write('{"annotations":[')

    def __call__(self, name: str, file: Path, found: Detections) -> None:
        """Write one answer; the table of images, which is small, follows at the end."""
        number = len(self.images) + 1
        self.images.append({"id": number, "file_name": name, "width": found.width, "height": found.height})
        for annotation in answers.coco_annotations(found, number):
            self.count += 1
            self.stream.write(("," if self.count > 1 else "") + "\n" + line({"id": self.count, **annotation}))
        self.stream.flush()

    def close(self) -> None:
        """Write images and categories."""
        categories = [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)]
        self.stream.write(f'\n],"images":{line(self.images)},"categories":{line(categories)}}}\n')


@dataclass
class Labelme:
    """A LabelMe file beside each name."""

    folder: Path
    suffixes: ClassVar = (".json",)

    def __call__(self, name: str, file: Path, found: Detections) -> None:
        """Write one file."""
        target = _target(self.folder, name, ".json")
        picture = os.path.relpath(file.absolute(), target.parent.absolute())
        target.write_text(line(answers.labelme(found, picture)), encoding="utf-8")

    def close(self) -> None:
        """Nothing is left to be written."""


@dataclass
class Png:
    """A PNG of numbers a picture, and a JSON file that says what they are."""

    folder: Path
    suffixes: ClassVar = (".png", ".json")

    def __call__(self, name: str, file: Path, found: Detections) -> None:
        """Write both files."""
        answers.index_picture(found).save(_target(self.folder, name, ".png"))
        _target(self.folder, name, ".json").write_text(line(answers.index_table(found)), encoding="utf-8")

    def close(self) -> None:
        """Nothing is left to be written."""


def write_overlay(
    folder: Path, classes: Sequence[str], name: str, picture: Image.Image, found: Detections
) -> None:
    """The picture with masks, outlines and labels over it, at its own size, as `NAME.overlay.jpg`.

    One so small that the labels would hide it is enlarged by a whole number, to at most LEGIBLE pixels; sides
    that are longer than JPEG's longest are reduced to that.
    """
    from .overlay import class_colours, overlay_masks

    results: list[Mapping[str, object]] = list(answers.coco_annotations(found, 0))
    names = dict(enumerate(classes, 1))
    times = max(1, LEGIBLE // max(picture.size))
    width, height = (min(side * times, JPEG_SIDE) for side in picture.size)
    colours = class_colours(len(classes))
    drawn = overlay_masks(picture, results, colours, names, least=width, largest=(width, height))
    drawn.save(_target(folder, name, OVERLAY), quality=90)


def place(folder: Path, name: str, suffix: str) -> Path:
    """Where the answer of that name and kind lies in a folder."""
    return folder / (os.path.splitext(name)[0] + suffix)


def require_new(files: Iterable[Path]) -> None:
    """Whether all of these may be written: no picture and no corrected answer is ever overwritten.

    Raises:
        DataError: one is there already.
    """
    there = [file for file in files if os.path.lexists(file)]
    if there:
        others = f" and {len(there) - 1} more are" if len(there) > 1 else " is"
        raise DataError(f"{there[0]}{others} there already; choose another --out, or remove them first")


def _target(folder: Path, name: str, suffix: str) -> Path:
    target = place(folder, name, suffix)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{target.parent} can't be made: {error.strerror}; choose another --out") from error
    return target
