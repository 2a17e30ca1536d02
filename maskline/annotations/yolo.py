"""YOLO's segmentation form: data.yaml, pictures in images/, and one text file a picture in labels/.

A line is `class x1 y1 x2 y2 ...` in fractions of width and height, and one object. Parts and holes are joined
to one ring by bridges without width, and filled by the even-odd rule. Crowd regions, which the form can't
hold, are read from `crowd.jsonl` beside data.yaml, where `maskline convert` writes them.
"""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskline.errors import DataError
from maskline.pictures import SUFFIXES

from .locations import files_below, local_file, visible
from .mltable import load_yaml
from .records import AnnotationSet, Instance, PictureRecord, Refusal, is_class_name
from .shapes import ShapeError, read_polygon, read_rle, short

DATA = "data.yaml"
CROWD = "crowd.jsonl"
PARTS = ("train", "val", "test")
LARGEST = 64 << 20
"""Bytes of the largest text file that is read."""


def read_yolo(file: Path, source: str, below: Path | None = None) -> AnnotationSet:
    """Read all parts that data.yaml names, or those pictures only that lie below a folder.

    A part is a folder of pictures, a text file of their paths, or a list of those. Labels lie where
    `images` in a picture's path reads `labels`. A picture without labels is background.

    Args:
        file: data.yaml.
        source: path that the user named.
        below: folder of the pictures that are wanted; None for all.

    Raises:
        DataError: data.yaml isn't as described above, or its folders aren't there.
    """
    data = load_yaml(file)
    names = _names(file, data.get("names"))
    root = _root(file, data.get("path"))
    found = AnnotationSet(source, pixel_units=False)
    pictures: dict[str, PictureRecord] = {}
    for part in PARTS:
        for picture in _pictures(found, file, root, part, data.get(part)):
            if str(picture) in pictures or (below is not None and not picture.is_relative_to(below)):
                continue
            found.records += 1
            found.parts = tuple(dict.fromkeys((*found.parts, part)))
            pictures[str(picture)] = _read_picture(found, picture, names, root)
    _list_orphans(found, pictures)
    _read_crowd(found, file.parent, pictures, below is not None)
    found.pictures = list(pictures.values())
    return found


def _names(file: Path, names: Any) -> dict[int, str]:
    listed = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(listed, dict) or not listed:
        raise DataError(f"{file}: names={short(names)} must list the classes, like names: [can, box]")
    listed = {k: str(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in listed.items()}
    bad = [k for k, v in listed.items() if not isinstance(k, int) or not is_class_name(v)]
    if bad:
        what = f"{file}: names has {short(bad[0])}: {short(listed[bad[0]])}; write NUMBER: name"
        raise DataError(f"{what}, in quotes where YAML reads another thing, as with yes, no and on")
    return listed


def _root(file: Path, path: Any) -> Path:
    """The folder that parts are relative to; an absolute one of another machine doesn't count."""
    if path is None or (isinstance(path, str) and Path(path).is_absolute()):
        return file.parent
    if not isinstance(path, str):
        raise DataError(f"{file}: path={short(path)} must be a folder")
    try:
        return Path(local_file(path, [str(file.parent)], absolute=False))
    except Refusal as refusal:
        raise DataError(f"{file}: path: {refusal.what}") from None


def _pictures(found: AnnotationSet, file: Path, root: Path, part: str, entry: Any) -> Iterator[Path]:
    for name in entry if isinstance(entry, list) else [entry] if entry else []:
        try:
            place = _place(file, root, name)
        except Refusal as refusal:
            raise DataError(f"{file}: {part}: {refusal.what}") from None
        if place.is_dir():
            yield from (p for p in files_below(place) if p.suffix.lower() in SUFFIXES)
        elif place.is_file() and place.suffix.lower() == ".txt":
            for number, line in enumerate(_lines(place), 1):
                if not line.strip():
                    continue
                try:
                    yield Path(local_file(line.strip(), [str(root)], absolute=False, within=str(file.parent)))
                except Refusal as refusal:
                    found.records += 1
                    found.refuse(refusal.kind, f"{place}:{number}", refusal.what, "picture")
        else:
            raise DataError(f"{file}: {part}: {place} is no folder and no list of pictures; correct it")


def _place(file: Path, root: Path, name: Any) -> Path:
    """The folder or list of a part.

    Some exporters write `../train/images` for a folder that lies beside data.yaml: nothing else could be
    meant, since what leaves the data is refused.
    """
    if isinstance(name, str) and name.startswith("../") and (root / name.removeprefix("../")).exists():
        name = name.removeprefix("../")
    return Path(local_file(name, [str(root)], absolute=False, within=str(file.parent)))


def _lines(file: Path) -> list[str]:
    try:
        if file.exists() and not file.is_file():
            raise DataError(f"{file} is no file")
        if file.stat().st_size > LARGEST:
            raise DataError(f"{file} is larger than {LARGEST} bytes")
        return file.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error


def _labels(picture: Path) -> Path:
    parts = list(picture.parts)
    if "images" in parts[:-1]:
        last = len(parts) - 2 - parts[-2::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _read_picture(found: AnnotationSet, picture: Path, names: dict[int, str], root: Path) -> PictureRecord:
    file = _labels(picture)
    record = PictureRecord(str(picture), str(file))
    if not os.path.lexists(file):
        return record
    try:
        lines = _lines(file)
    except DataError as error:
        found.records += 1
        found.refuse("bad_line", str(file), str(error), "labels")
        record.listed = 1  # what can't be read must not become background
        return record
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found.records += 1
        record.listed += 1
        where = f"{file}:{number}"
        try:
            record.instances.append(_read_line(line, names, where))
        except Refusal as refusal:
            found.refuse(refusal.kind, where, refusal.what)
    return record


def _read_line(line: str, names: dict[int, str], where: str) -> Instance:
    words = line.split()
    try:
        number, points = float(words[0]), [float(word) for word in words[1:]]
    except ValueError:
        raise Refusal("bad_line", f"{short(line)} must read: class x1 y1 x2 y2 ...") from None
    if not math.isfinite(number) or number != int(number) or int(number) not in names:
        raise Refusal("unknown_category", f"class {words[0]} isn't among the names of {DATA}")
    if len(points) == 4:
        raise Refusal("bad_polygon", "the line is a box (class x y w h) and no mask; export segments")
    try:
        shape, _ = read_polygon([points], "fraction", holes=False)
    except ShapeError as error:
        raise Refusal("bad_polygon", str(error)) from None
    return Instance(names[int(number)], False, shape, where)


def _list_orphans(found: AnnotationSet, pictures: dict[str, PictureRecord]) -> None:
    known = {picture.where for picture in pictures.values()}
    for folder in sorted({Path(where).parent for where in known}):
        if folder.name == "labels" or "labels" in folder.parts:
            for file in visible(folder.glob("*.txt"), folder):
                if str(file) not in known:
                    found.records += 1
                    found.refuse("missing_picture", str(file), "the labels have no picture", "labels")


def _read_crowd(found: AnnotationSet, folder: Path, pictures: dict[str, PictureRecord], some: bool) -> None:
    file = folder / CROWD
    if not file.is_file():
        return
    for number, line in enumerate(_lines(file), 1):
        where = f"{file}:{number}"
        found.records += 1
        try:
            data = json.loads(line)
            label, shape = data["label"], read_rle(data["segmentation"])
            place = local_file(data["image"], [str(folder)], absolute=False)
            if not is_class_name(label):
                raise ValueError(f"label={short(label)} is no name")
        except (ValueError, KeyError, TypeError, RecursionError, ShapeError, Refusal) as error:
            what = f"no crowd region with image, label and segmentation: {' '.join(str(error).split())}"
            found.refuse("bad_line", where, what)
            continue
        if place in pictures:
            pictures[place].listed += 1
            pictures[place].instances.append(Instance(label, True, shape, where))
        elif some:
            found.records -= 1  # of another part
        else:
            found.refuse("unknown_picture", where, f"{place!r} isn't among the pictures")
