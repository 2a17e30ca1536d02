"""COCO's instances JSON: polygons, compressed and uncompressed run lengths, crowd regions.

Masks mean what they mean to pycocotools: the rings of an object are united, and holes come through run
lengths only. Ids may start at 0, have gaps, and be text.
"""

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from maskline.errors import DataError

from .locations import local_file
from .records import AnnotationSet, Instance, PictureRecord, Refusal, is_class_name, read_crowd, read_group
from .shapes import Shape, ShapeError, read_polygon, read_rle, short


def read_coco(file: Path, source: str, group_column: str | None = None) -> AnnotationSet:
    """Read a COCO file.

    `file_name` is relative. It is looked for in the folder of the JSON file, in its sub-folders `images/`
    and NAME/, in the folder above, and in the same sub-folders there; for `instances_NAME.json`, NAME is
    what the file is called after, as in COCO's own layout. Whatever leaves the folder above is refused.

    Args:
        file: the JSON file.
        source: path that the user named.
        group_column: name of the key of an image that holds its group.

    Raises:
        DataError: the file is no JSON, has no list of images, annotations or categories, or no image.
    """
    data = _load(file)
    found = AnnotationSet(source, pixel_units=True)
    found.records = len(data["images"]) + len(data["annotations"])
    categories, unusable = _categories(found, file, data["categories"])
    pictures = _pictures(found, file, data["images"], group_column)
    refused = {i["id"] for i in data["images"] if isinstance(i, dict) and _is_id(i.get("id"))} - set(pictures)
    seen: set[Any] = set()
    for position, annotation in enumerate(data["annotations"]):
        _read_annotation(found, file, position, annotation, pictures, refused, categories, unusable, seen)
    _list_unused(found, file, data["annotations"], categories)
    found.pictures = list(pictures.values())
    return found


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: byte {error.start + 1} is not UTF-8; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{file}:{error.lineno}: no JSON: {error.msg} at column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: no JSON that can be read: {error}") from error
    if not isinstance(data, dict):
        raise DataError(f"{file} is no COCO file: it must be a JSON object with images and annotations")
    for key in ("images", "annotations", "categories"):
        if not isinstance(data.get(key), list):
            raise DataError(f"{file} is no COCO file: it has no list of {key}")
    if not data["images"]:
        raise DataError(f"{file} lists no images; there is nothing to learn from")
    return data


def _categories(found: AnnotationSet, file: Path, categories: list[Any]) -> tuple[dict[Any, str], set[Any]]:
    """Names by id, and the ids whose names can't be used."""
    names: dict[Any, str] = {}
    unusable: set[Any] = set()
    for position, category in enumerate(categories):
        key = category.get("id") if isinstance(category, dict) else None
        where = _where(file, "category", key, position)
        if not _is_id(key) or not is_class_name(category.get("name")):
            found.note("bad_category", where, f"{short(category)} needs an id and a name", "category refused")
            unusable |= {key} if _is_id(key) else set()
        elif key in names:
            found.note("bad_category", where, f"the id is taken by {names[key]!r}", "category refused")
        else:
            if category["name"] in names.values():
                what = f"the name {category['name']!r} has another id already"
                found.note("same_category", where, what, "taken as one class")
            names[key] = category["name"]
    return names, unusable - set(names)


def _pictures(
    found: AnnotationSet, file: Path, images: list[Any], group_column: str | None
) -> dict[Any, PictureRecord]:
    folders = picture_folders(file)
    pictures: dict[Any, PictureRecord] = {}
    for position, image in enumerate(images):
        key = image.get("id") if isinstance(image, dict) else None
        where = _where(file, "image", key, position)
        try:
            if not _is_id(key):
                raise Refusal("bad_record", f"{short(image)} must have an id")
            if key in pictures:
                raise Refusal("duplicate_id", f"the id is taken by {pictures[key].file!r}")
            path = local_file(image.get("file_name"), folders, absolute=False)
            pictures[key] = PictureRecord(path, where, _side(image, "width"), _side(image, "height"))
            pictures[key].groups = read_group(image, group_column)
        except Refusal as refusal:
            found.refuse(refusal.kind, where, refusal.what, "picture")
    return pictures


def picture_folders(file: Path) -> list[str]:
    """Where the pictures of a COCO file are looked for, in turn."""
    here = file.absolute().parent
    name = file.stem.removeprefix("instances_")
    return [str(base / sub) for base in (here, here.parent) for sub in ("", "images", name)]


def _side(image: dict[str, Any], key: str) -> int | None:
    value = image.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1 or value < 1:
        raise Refusal("wrong_size", f"{key}={short(value)} must be an integer of 1 or more")
    return int(value)


def _read_annotation(
    found: AnnotationSet,
    file: Path,
    position: int,
    annotation: Any,
    pictures: dict[Any, PictureRecord],
    refused: set[Any],
    categories: dict[Any, str],
    unusable: set[Any],
    seen: set[Any],
) -> None:
    if not isinstance(annotation, dict):
        found.refuse("bad_record", _where(file, "annotation", None, position), "an annotation is an object")
        return
    key, image, category = (annotation.get(k) for k in ("id", "image_id", "category_id"))
    where = _where(file, "annotation", key, position)
    picture = pictures.get(image) if _is_id(image) else None
    if picture is None:
        known = _is_id(image) and image in refused
        what = f"image_id={short(image)} " + ("was refused" if known else "is not among the images")
        found.refuse("unknown_picture", where, what)
        return
    picture.listed += 1
    try:
        if key is not None and not _is_id(key):
            raise Refusal("bad_record", f"id={short(key)} must be an integer or text")
        if key in seen:
            raise Refusal("duplicate_id", f"id={key!r} is taken by an earlier annotation")
        if _is_id(category) and category in unusable:
            raise Refusal("bad_category", f"category_id={short(category)} has no name that can be used")
        if not _is_id(category) or category not in categories:
            raise Refusal("unknown_category", f"category_id={short(category)} is not among the categories")
        segmentation = annotation.get("segmentation")
        if not segmentation and annotation.get("bbox"):
            what = f"segmentation={short(segmentation)}: a box alone has no mask to learn from"
            raise Refusal("bad_polygon", what)
        shape = _shape(found, segmentation, where)
    except Refusal as refusal:
        found.refuse(refusal.kind, where, refusal.what)
        return
    if key is not None:
        seen.add(key)
    _check_box(found, annotation.get("bbox"), where)
    crowd = read_crowd(found, annotation.get("iscrowd"), where)
    picture.instances.append(Instance(categories[category], crowd, shape, where))


def _shape(found: AnnotationSet, segmentation: Any, where: str) -> Shape:
    if isinstance(segmentation, dict):
        try:
            return read_rle(segmentation)
        except ShapeError as error:
            raise Refusal("bad_rle", str(error)) from None
    try:
        shape, dropped = read_polygon(segmentation, "pixel", holes=False)
    except ShapeError as error:
        raise Refusal("bad_polygon", str(error)) from None
    if dropped:
        found.note("bad_ring", where, f"{dropped} rings have fewer than three points", "rings dropped")
    return shape


def _check_box(found: AnnotationSet, box: Any, where: str) -> None:
    if box is None:
        return
    numbers = isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box)
    if not numbers or not all(math.isfinite(v) for v in box) or box[2] <= 0 or box[3] <= 0:
        what = f"bbox={short(box)} must be [x, y, width, height] with width and height above 0"
        found.note("bad_box", where, what, "box taken from the mask")


def _list_unused(found: AnnotationSet, file: Path, annotations: list[Any], names: dict[Any, str]) -> None:
    used = Counter(
        a["category_id"] for a in annotations if isinstance(a, dict) and _is_id(a.get("category_id"))
    )
    unused = [name for key, name in names.items() if not used[key]]
    if unused:
        what = f"{len(unused)} categories have no object: {', '.join(unused)}"
        found.note("unused_category", str(file), what, "no class is made of them")


def _where(file: Path, noun: str, key: Any, position: int) -> str:
    return f"{file}: {noun} {short(key)}" if _is_id(key) else f"{file}: {noun} without id at place {position}"


def _is_id(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, (int, str)) and not isinstance(value, bool)
