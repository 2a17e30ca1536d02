"""Pascal VOC's layout: JPEGImages/, SegmentationObject/, and classes from SegmentationClass/ or Annotations/.

In a mask of SegmentationObject every colour is one object; 0 is background, and VOC's border (index 255, or
its colour) belongs to none. A class is the most frequent value of SegmentationClass under the object. Where
that folder is missing, objects are matched with the boxes of the XML file, by overlap and never by order.
`difficult` makes an object a crowd region. Names and colours come from `labelmap.txt` (`name:r,g,b::`) if
there is one, and are VOC's own twenty otherwise.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskline.errors import DataError
from maskline.pictures import SUFFIXES, read_values

from .locations import visible
from .records import AnnotationSet, Instance, PictureRecord, Refusal, is_class_name
from .shapes import from_bitmap

NAMES = tuple(
    "aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "  # noqa: SIM905
    "pottedplant sheep sofa train tvmonitor".split()
)
LEAST_OVERLAP = 0.5
"""IoU that the box of an object and a box of the XML file must have to be one and the same."""
LARGEST_XML = 16 << 20
_BORDER = 255
Ints = NDArray[np.int64]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class _Described:
    """An object of an XML file; the box holds x1, y1, x2, y2 in pixels, ends excluded."""

    label: str
    box: Box
    difficult: bool


def looks_like_pascal_voc(folder: Path) -> bool:
    """Whether the two folders that are always there are there."""
    return (folder / "SegmentationObject").is_dir() and (folder / "JPEGImages").is_dir()


def read_pascal_voc(folder: Path, source: str) -> AnnotationSet:
    """Read every picture that has a mask in SegmentationObject; the lists in ImageSets aren't read.

    Raises:
        DataError: the folders aren't there, or `labelmap.txt` can't be read.
    """
    if not looks_like_pascal_voc(folder):
        raise DataError(f"{folder} must hold JPEGImages and SegmentationObject, as Pascal VOC has them")
    names = _names(folder)
    places = [folder / "JPEGImages", folder / "SegmentationObject"]
    listed, drawn = (visible(place.iterdir(), place) for place in places)
    pictures = {p.stem: p for p in listed if p.suffix.lower() in SUFFIXES}
    found = AnnotationSet(source, pixel_units=False)
    masks = [p for p in drawn if p.suffix.lower() == ".png"]
    for mask in masks:
        found.records += 1
        try:
            _read_picture(found, folder, mask, pictures.get(mask.stem), names)
        except Refusal as refusal:
            found.refuse(refusal.kind, str(mask), refusal.what, "picture")
    if loose := sorted(set(pictures) - {mask.stem for mask in masks}):
        what = f"{len(loose)} pictures have no mask in SegmentationObject, {loose[0]!r} for one"
        found.note("unlabelled_picture", str(folder), what, "left out")
    return found


def _read_picture(
    found: AnnotationSet, folder: Path, mask: Path, picture: Path | None, names: dict[int, str]
) -> None:
    try:
        objects = _indices(read_values(mask))
    except DataError as error:
        raise Refusal("broken_picture", str(error)) from None
    if picture is None:
        raise Refusal("missing_picture", f"there is no picture {mask.stem!r} in JPEGImages")
    described = _described(folder / "Annotations" / f"{mask.stem}.xml")
    classes = _classes(folder / "SegmentationClass" / mask.name, objects.shape)
    record = PictureRecord(str(picture), str(mask))
    values = [v for v in np.unique(objects).tolist() if v not in (0, _BORDER)]
    free = dict(enumerate(described))
    for value in values:
        found.records += 1
        record.listed += 1
        where = f"{mask}: object {value}"
        bitmap = objects == value
        same = _take_best(bitmap, free)
        try:
            label = _label(bitmap, classes, names, same)
        except Refusal as refusal:
            found.refuse(refusal.kind, where, refusal.what)
            continue
        difficult = same.difficult if same is not None else False
        record.instances.append(Instance(label, difficult, from_bitmap(bitmap), where))
    for left in free.values():
        where = f"{folder / 'Annotations' / mask.stem}.xml"
        found.records += 1
        record.listed += 1  # an object without a mask: its picture isn't background
        found.refuse("bad_box", where, f"no mask lies under the box {left.box} of {left.label!r}")
    found.pictures.append(record)


def _indices(values: NDArray[np.generic]) -> Ints:
    """Values of a mask as numbers: palette and grey as they are, colours by VOC's map or packed."""
    whole = values.astype(np.int64)
    if whole.ndim == 2:
        return whole
    packed = whole[..., 0] << 16 | whole[..., 1] << 8 | whole[..., 2]
    found = packed + 256  # no colour may be taken for an index
    for index in range(256):
        found[packed == _colour(index)] = index
    return found


def _colour(index: int) -> int:
    """VOC's colour of an index, as 0xRRGGBB: bits of the index dealt out to the channels, highest first."""
    channels = [0, 0, 0]
    for place in range(8):
        for channel in range(3):
            channels[channel] |= (index >> (3 * place + channel) & 1) << (7 - place)
    return channels[0] << 16 | channels[1] << 8 | channels[2]


def _names(folder: Path) -> dict[int, str]:
    """Class names by the value that `_indices` gives."""
    file = folder / "labelmap.txt"
    if not file.is_file():
        return dict(enumerate(NAMES, 1))
    found: dict[int, str] = {}
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} can't be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            colour = np.array([[[int(v) for v in rest.split(":")[0].split(",")]]])
            index = int(_indices(colour)[0, 0])
        except (ValueError, IndexError, OverflowError):
            raise DataError(f"{file}:{number}: {line!r} must read name:red,green,blue::") from None
        if index:
            found[index] = name
    return found


def _classes(file: Path, shape: tuple[int, ...]) -> Ints | None:
    if not file.is_file():
        return None
    try:
        found = _indices(read_values(file))
    except DataError as error:
        raise Refusal("broken_picture", str(error)) from None
    if found.shape != shape:
        raise Refusal("wrong_size", f"{file} has another size than the mask of objects")
    return found


def _label(
    bitmap: NDArray[np.bool_], classes: Ints | None, names: dict[int, str], same: _Described | None
) -> str:
    if classes is not None:
        under = classes[bitmap]
        under = under[(under != 0) & (under != _BORDER)]
        values, counts = np.unique(under, return_counts=True)
        value = int(values[counts.argmax()]) if under.size else 0
        if value not in names:
            raise Refusal("unknown_category", f"value {value} of SegmentationClass has no name")
        return names[value]
    if same is None:
        raise Refusal(
            "unknown_category",
            f"no box of the XML file has an IoU of {LEAST_OVERLAP} with it, and SegmentationClass is missing",
        )
    return same.label


def _take_best(bitmap: NDArray[np.bool_], free: dict[int, _Described]) -> _Described | None:
    """Take the described object that overlaps most out of those that are left."""
    rows, columns = np.flatnonzero(bitmap.any(axis=1)), np.flatnonzero(bitmap.any(axis=0))
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    best = max(free, key=lambda key: _overlap(box, free[key].box), default=None)
    if best is None or _overlap(box, free[best].box) < LEAST_OVERLAP:
        return None
    return free.pop(best)


def _overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def _described(file: Path) -> list[_Described]:
    if not file.is_file():
        return []
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST_XML + 1)
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    if len(text) > LARGEST_XML or b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise Refusal("bad_record", f"{file} is larger than {LARGEST_XML} bytes or defines entities")
    try:
        return list(_objects(ET.fromstring(text)))  # noqa: S314  entities were refused above
    except (ET.ParseError, ValueError) as error:
        raise Refusal("bad_record", f"{file}: {error}") from None


def _objects(root: ET.Element) -> Iterator[_Described]:
    for entry in root.iter("object"):
        name = entry.findtext("name", "").strip()
        if not is_class_name(name):
            raise ValueError("an object has no name")
        x1, y1, x2, y2 = (float(entry.findtext(f"bndbox/{k}", "")) for k in ("xmin", "ymin", "xmax", "ymax"))
        if not (0 <= x1 <= x2 < 1e6 and 0 <= y1 <= y2 < 1e6):
            raise ValueError(f"the box of {name!r} is none")
        # VOC counts pixels from 1, both ends included.
        yield _Described(name, (x1 - 1, y1 - 1, x2, y2), entry.findtext("difficult", "0").strip() == "1")
