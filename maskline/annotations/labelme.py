"""LabelMe's JSON files, one a picture.

Polygons, rectangles, circles and bitmaps are objects. Shapes with the same label and the same `group_id` are
the parts of one object; a ring inside another is a hole. A shape or a file with the flag `crowd` is a crowd
region. Lines and points enclose nothing, and are refused.
"""

import base64
import binascii
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from maskline.errors import DataError
from maskline.pictures import SUFFIXES, read_values

from .locations import files_below, local_file, visible
from .records import AnnotationSet, Instance, PictureRecord, Refusal, is_class_name, read_group
from .shapes import Polygon, Rle, Shape, ShapeError, any_channel, from_bitmap, read_polygon, short

LARGEST = 256 << 20
"""Bytes of the largest file that is read; LabelMe may put the picture itself into it."""
_LOOKED_AT = 10  # JSON files of a folder: the first may be broken, or another tool's
_CORNERS = 64  # of a polygon that stands for a circle


def looks_like_labelme(folder: Path) -> bool:
    """Whether a folder, or a sub-folder, holds a LabelMe file; the first JSON files of each are looked at."""
    if not folder.is_dir():
        return folder.suffix.lower() == ".json" and _is_labelme(folder)
    places = [folder, *visible((p for p in folder.iterdir() if p.is_dir()), folder)]
    firsts = (file for place in places for file in visible(place.glob("*.json"), place)[:_LOOKED_AT])
    return any(map(_is_labelme, firsts))


def _is_labelme(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            head = stream.read(1 << 20)
            if b'"shapes"' in head:
                return b'"imagePath"' in head or b'"imagePath"' in stream.read()
            stream.seek(max(file.stat().st_size - (1 << 20), 0))
            tail = stream.read()
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    return b'"shapes"' in tail and b'"imagePath"' in head + tail


def read_labelme(folder: Path, source: str, group_column: str | None = None) -> AnnotationSet:
    """Read all LabelMe files below a folder, or one file.

    `imagePath` is relative to its file and must lie below the folder. `imageData` isn't read.

    Raises:
        DataError: the folder can't be listed.
    """
    root = folder if folder.is_dir() else folder.parent
    present = files_below(folder) if folder.is_dir() else [folder]
    files = [file for file in present if file.suffix == ".json" or file == folder]
    found = AnnotationSet(source, pixel_units=True)
    for file in files:
        _read_file(found, file, root, group_column)
    if folder.is_dir():
        _list_unlabelled(found, root, present)
    return found


def _read_file(found: AnnotationSet, file: Path, root: Path, group_column: str | None) -> None:
    found.records += 1
    where = str(file)
    shapes: list[Any] = []
    try:
        data = _load(file)
        shapes = _shapes(data)
        found.records += len(shapes)
        name = data.get("imagePath")
        if isinstance(name, str):
            name = name.replace("\\", "/")  # LabelMe on Windows writes its separators
        place = local_file(name, [str(file.parent)], absolute=False, within=str(root))
    except Refusal as refusal:
        found.refuse(refusal.kind, where, refusal.what, "picture", 1 + len(shapes))
        return
    record = PictureRecord(place, where, _side(data, "imageWidth"), _side(data, "imageHeight"))
    record.listed = len(shapes)
    record.groups = read_group(data, group_column)
    record.instances += _instances(found, shapes, where, record, _flag(data))
    found.pictures.append(record)


def _load(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > LARGEST:
            raise Refusal("bad_record", f"the file is larger than {LARGEST} bytes; save it without imageData")
        data = json.loads(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refusal("bad_record", f"no JSON: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict):
        raise Refusal("bad_record", "must be a JSON object with imagePath and shapes")
    return data


def _shapes(data: dict[str, Any]) -> list[Any]:
    shapes = data.get("shapes")
    if not isinstance(shapes, list):
        raise Refusal("bad_record", f"shapes={short(shapes)} must be a list; save the file with LabelMe")
    return shapes


def _side(data: dict[str, Any], key: str) -> int | None:
    value = data.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _flag(data: dict[str, Any]) -> bool:
    flags = data.get("flags")
    return isinstance(flags, dict) and bool(flags.get("crowd") or flags.get("iscrowd"))


def _instances(
    found: AnnotationSet, shapes: list[Any], where: str, picture: PictureRecord, crowd: bool
) -> Iterator[Instance]:
    groups: dict[tuple[Any, ...], list[tuple[Shape, str, bool]]] = defaultdict(list)
    for position, shape in enumerate(shapes):
        place = f"{where}: shape {position}"
        try:
            label, part = _read_shape(shape, picture)
        except Refusal as refusal:
            found.refuse(refusal.kind, place, refusal.what)
            continue
        group = shape.get("group_id")
        bitmap = isinstance(part, Rle)
        alone = group is None or bitmap or not isinstance(group, (int, str))
        key = (label, "alone", position) if alone else (label, "group", group)
        groups[key].append((part, place, crowd or _flag(shape)))
    for (label, *_), parts in groups.items():
        first, place, flagged = parts[0]
        if isinstance(first, Polygon) and len(parts) > 1:
            rings = tuple(r for part, _, _ in parts if isinstance(part, Polygon) for r in part.rings)
            first = Polygon(rings, "pixel", holes=True)
            picture.listed -= len(parts) - 1
            found.records -= len(parts) - 1
        yield Instance(label, flagged, first, place)


def _read_shape(shape: Any, picture: PictureRecord) -> tuple[str, Shape]:
    if not isinstance(shape, dict):
        raise Refusal("bad_record", f"{short(shape)} is no shape")
    label = shape.get("label")
    if not is_class_name(label):
        raise Refusal("bad_label", f"label={short(label)} must be the name of a class")
    kind, points = shape.get("shape_type", "polygon"), shape.get("points")
    try:
        corners = _points(points)
        if kind == "mask":
            return label, _bitmap(shape.get("mask"), corners, picture)
        if kind == "rectangle" and len(corners) == 2:
            (x1, y1), (x2, y2) = corners
            corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        elif kind == "circle" and len(corners) == 2:
            corners = _circle(corners[0], math.dist(corners[0], corners[1]))
        elif kind not in ("polygon", "rectangle"):
            raise ShapeError(f"shape_type={short(kind)} encloses nothing; draw a polygon")
        return label, read_polygon([corners.ravel().tolist()], "pixel", holes=True)[0]
    except ShapeError as error:
        raise Refusal("bad_polygon", str(error)) from None


def _points(points: Any) -> NDArray[np.float64]:
    pairs = isinstance(points, list) and points and all(isinstance(p, list) and len(p) == 2 for p in points)
    if not pairs or not all(isinstance(v, (int, float)) for p in points for v in p):
        raise ShapeError(f"points={short(points)} must be a list of [x, y]")
    try:
        return np.array(points, dtype=np.float64)
    except OverflowError:
        raise ShapeError(f"points={short(points)} hold numbers that are too large") from None


def _circle(centre: NDArray[np.float64], radius: float) -> NDArray[np.float64]:
    angles = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    return np.asarray(centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1))


def _bitmap(text: Any, corners: NDArray[np.float64], picture: PictureRecord) -> Rle:
    """A mask that is given as a PNG in base64, to be laid at the first point."""
    if not isinstance(text, str) or picture.width is None or picture.height is None:
        raise ShapeError("a mask needs its PNG, and imageWidth and imageHeight of the file")
    if picture.width * picture.height > Image.MAX_IMAGE_PIXELS:  # type: ignore[operator]
        raise ShapeError(f"imageWidth x imageHeight is {picture.width}x{picture.height}, which is too large")
    if not np.isfinite(corners).all():
        raise ShapeError("points hold NaN or infinity")
    try:
        values = read_values(io.BytesIO(base64.b64decode(text, validate=True)))
    except (binascii.Error, ValueError, DataError) as error:
        raise ShapeError(f"the mask is no PNG in base64: {error}") from None
    x, y = (int(v) for v in np.rint(corners.min(axis=0)).clip(-1 << 30, 1 << 30))
    whole = np.zeros((picture.height, picture.width), dtype=bool)
    inside = any_channel(values)[max(-y, 0) :, max(-x, 0) :]
    room = whole[max(y, 0) :, max(x, 0) :][: inside.shape[0], : inside.shape[1]]
    room[...] = inside[: room.shape[0], : room.shape[1]]
    return from_bitmap(whole)


def _list_unlabelled(found: AnnotationSet, root: Path, present: list[Path]) -> None:
    """Pictures without a file: LabelMe saves none before somebody looked, so they aren't background."""
    known = {picture.file for picture in found.pictures}
    files = {p.with_suffix("") for p in present if p.suffix == ".json"}  # what is refused is listed as that
    loose = [
        p
        for p in present
        if p.suffix.lower() in SUFFIXES and str(p) not in known and p.with_suffix("") not in files
    ]
    if loose:
        what = f"{len(loose)} pictures have no JSON file, {loose[0].name!r} for one"
        found.note("unlabelled_picture", str(root), what, "left out; save an empty file to keep one")
