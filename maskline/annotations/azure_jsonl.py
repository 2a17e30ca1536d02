"""Azure ML's JSON Lines for instance segmentation: one picture a line.

A record is `{"image_url": PATH, "image_details": {"width": 640, "height": 480}, "label": [OBJECT, ...]}`
and an object `{"label": "can", "isCrowd": 0, "polygon": [[x1, y1, x2, y2, ...], ...]}` with points in
fractions of width and height. Several rings are one object; a ring inside another is a hole.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from maskline.errors import DataError

from .locations import local_file
from .mltable import MLTable
from .records import AnnotationSet, Instance, PictureRecord, Refusal, is_class_name, read_crowd, read_group
from .shapes import ShapeError, read_polygon, short

LONGEST_LINE = 32 << 20
"""Bytes of the longest line that is read; a picture with 5,000 objects needs about 20 MB."""


def read_azure_jsonl(
    table: MLTable, source: str, label_column: str = "label", group_column: str | None = None
) -> AnnotationSet:
    """Read the JSON Lines files of a table.

    `image_url` is a path relative to the folder of its file, `azureml:` before such a path, an absolute
    path, or a URI, which `maskline.sources` fetches. A blank line is listed; an empty list of labels is a
    background picture.

    Args:
        table: the files and how to read them.
        source: path that the user named.
        label_column: name of the key that holds the objects.
        group_column: name of the key that holds the group of a picture.

    Raises:
        DataError: no record has the label column; or a line is no JSON and the table is strict.
    """
    found = AnnotationSet(source, pixel_units=False)
    seen: set[str] = set()
    for file in table.files:
        for where, line in _lines(file):
            _read_line(found, file, where, line, table.encoding, label_column, group_column, seen)
    broken = [f for f in found.findings if f.kind == "bad_line"]
    if table.strict and broken:
        listed = "; ".join(f"{f.where}: {f.what}" for f in broken[:5])
        raise DataError(f"{len(broken)} lines are no records, and MLTable has invalid_lines: error: {listed}")
    if seen and label_column not in seen:
        keys = ", ".join(sorted(seen))
        raise DataError(f"{source}: no record has {label_column!r}; set target_column_name to one of {keys}")
    return found


def _lines(file: Path) -> Iterator[tuple[str, bytes]]:
    """Lines and where they are; of a line that is too long, only the start."""
    try:
        with file.open("rb") as stream:
            number = 0
            while line := stream.readline(LONGEST_LINE + 1):
                number += 1
                rest = line
                while len(rest) > LONGEST_LINE and not rest.endswith(b"\n"):
                    rest = stream.readline(LONGEST_LINE + 1)
                yield f"{file}:{number}", line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error


def _read_line(
    found: AnnotationSet,
    file: Path,
    where: str,
    line: bytes,
    encoding: str,
    label_column: str,
    group_column: str | None,
    seen: set[str],
) -> None:
    if not line.strip():
        found.note("blank_line", where, "the line is empty", "passed over")
        return
    found.records += 1
    try:
        record = _parse(line, encoding)
        seen.update(record)
        picture = _picture(record, file, where, label_column)
    except Refusal as refusal:
        found.refuse(refusal.kind, where, refusal.what, "record")
        return
    labels = record[label_column]
    found.records += len(labels)
    picture.listed = len(labels)
    picture.groups = read_group(record, group_column)
    for number, label in enumerate(labels, 1):
        _read_object(found, picture, label, f"{where} object {number}")
    found.pictures.append(picture)


def _parse(line: bytes, encoding: str) -> dict[str, Any]:
    if len(line) > LONGEST_LINE:
        raise Refusal("bad_line", f"the line has more than {LONGEST_LINE >> 20} MiB; a line is one picture")
    try:
        record = json.loads(line.decode(encoding).rstrip())
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1} of the line is not {encoding}; save the file as UTF-8"
        raise Refusal("bad_line", what) from None
    except json.JSONDecodeError as error:
        raise Refusal("bad_line", f"no JSON: {error.msg} at column {error.pos + 1}") from None
    except (ValueError, RecursionError) as error:
        raise Refusal("bad_line", f"no JSON that can be read: {error}") from None
    if not isinstance(record, dict):
        raise Refusal("bad_line", f"a record is a JSON object, not {type(record).__name__}")
    return record


def _picture(record: dict[str, Any], file: Path, where: str, label_column: str) -> PictureRecord:
    for key in ("image_url", label_column):
        if key not in record:
            raise Refusal("bad_record", f"{key!r} is missing; the record has {', '.join(record) or 'no key'}")
    if not isinstance(record[label_column], list):
        what = f"{label_column}={short(record[label_column])} must be a list of objects"
        raise Refusal("bad_record", what)
    path = local_file(record["image_url"], [str(file.parent.absolute())], absolute=True, remote=True)
    details = record.get("image_details")
    details = details if isinstance(details, dict) else {}
    width, height = _pixels(details, "width"), _pixels(details, "height")
    return PictureRecord(path, where, width, height)


def _pixels(details: dict[str, Any], key: str) -> int | None:
    """A declared side: 400, 400.0 or "400px"; None where there is none."""
    value = details.get(key)
    if value is None:
        return None
    if match := re.fullmatch(r"\s*(\d{1,9})(?:\.0+)?\s*(?:px)?\s*", str(value)):
        return int(match[1])
    raise Refusal("wrong_size", f"image_details.{key}={short(value)} must be pixels, like 400 or '400px'")


def _read_object(found: AnnotationSet, picture: PictureRecord, label: Any, where: str) -> None:
    if not isinstance(label, dict):
        found.refuse("bad_record", where, f"{short(label)} must be an object with label and polygon")
        return
    name = label.get("label")
    if isinstance(name, int) and not isinstance(name, bool):
        name = str(name)
    if not is_class_name(name):
        found.refuse("bad_label", where, f"label={short(name)} must be a name or an integer")
        return
    if "polygon" not in label:
        found.refuse("bad_polygon", where, "polygon is missing; a box alone has no mask to learn from")
        return
    try:
        shape, dropped = read_polygon(label["polygon"], "fraction", holes=True)
    except ShapeError as error:
        found.refuse("bad_polygon", where, str(error))
        return
    if dropped:
        found.note("bad_ring", where, f"{dropped} rings have fewer than three points", "rings dropped")
    crowd = read_crowd(found, label.get("isCrowd"), where)
    picture.instances.append(Instance(name, crowd, shape, where))
