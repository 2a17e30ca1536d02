"""The one checked form that every reader ends in: pictures, their instances, and what was found wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard

from maskline.errors import DataError

from .shapes import Shape, short

Kind = Literal[
    "bad_box",  # a box that is none; boxes are computed from masks, so the object stays
    "bad_category",  # a category without id or name, or with an id that is taken
    "bad_label",  # the class name of an object is missing or of the wrong type
    "bad_line",  # a line that is no JSON object, not in its encoding, or too long
    "bad_polygon",  # points that are no numbers, odd in number, not finite, or fewer than three
    "bad_record",  # a record without the keys that are needed
    "bad_ring",  # one ring of several has fewer than three points; the others stay
    "bad_rle",  # run lengths that can't be decoded, or don't fill their size, or have another size
    "blank_line",  # an empty line between records
    "broken_picture",  # truncated, damaged, too large, or no picture at all
    "class_not_in_training",  # validation or test data have a class that training data lack
    "crowd_flag",  # a crowd flag that is neither true nor false; taken as false
    "duplicate_id",  # an id that an earlier record has
    "duplicate_object",  # the same mask and class twice in one picture; counted once
    "empty_mask",  # the shape covers no pixel
    "missing_picture",  # the file isn't there
    "near_duplicate",  # all but the same picture in two parts of the data
    "no_group",  # a picture without a value in the group column
    "no_object_left",  # every object of the picture was refused, so the picture is too
    "outside_coordinates",  # points outside the picture: clipped, or refused when they are far away
    "remote_picture",  # a URI that can't be read: of a datastore without a mapping, or in the wrong place
    "repeated_picture",  # a picture that an earlier record has
    "same_category",  # two ids with one name; taken as one class
    "self_crossing",  # a ring that crosses itself; filled by the even-odd rule
    "shared_group",  # pictures of one group in two parts of the data
    "shared_picture",  # the same picture in two parts of the data
    "unknown_category",  # an object of a category that isn't listed
    "unlabelled_picture",  # pictures that nobody labelled; left out, which is no loss
    "unknown_picture",  # an object of a picture that isn't listed
    "unrotated_size",  # the declared size is that before EXIF rotation
    "unsafe_path",  # a path that leaves the data's folder
    "unused_category",  # a category without objects; no class is made for it
    "wrong_size",  # the declared size isn't the picture's
]
"""What can be wrong with a record, in a short word each."""


class Refusal(DataError):
    """A record that can't be used: its kind, and in words what is wrong with it."""

    def __init__(self, kind: Kind, what: str) -> None:
        super().__init__(what)
        self.kind: Kind = kind
        self.what = what


@dataclass(frozen=True, slots=True)
class Finding:
    """One record that was repaired, refused, or is worth a look.

    Attributes:
        kind: the kind of defect, in a short word.
        where: file and line, or file and id.
        what: the value and the rule it breaks.
        action: what was done about it.
        lost: how many records were refused by it: 1 for an object, 1 + its objects for a picture, 0 when
            nothing was lost.
    """

    kind: Kind
    where: str
    what: str
    action: str
    lost: int = 0

    def __str__(self) -> str:
        return f"{self.where}: {self.what} ({self.kind}; {self.action})"


@dataclass(frozen=True, slots=True)
class Instance:
    """One object as its source describes it: class name, crowd region or not, shape, and where it stands."""

    label: str
    crowd: bool
    shape: Shape
    where: str


@dataclass(slots=True)
class PictureRecord:
    """One picture and its objects.

    Attributes:
        file: absolute path, or URI; whether it is there is checked later.
        where: file and line, or file and id, of the record.
        width, height: as declared, in pixels; None when not declared.
        instances: the objects whose records are sound.
        listed: how many objects the source lists, the refused ones included; 0 is a background picture.
        groups: pictures that share one of these stay together in a split; see `read_group`.
    """

    file: str
    where: str
    width: int | None = None
    height: int | None = None
    instances: list[Instance] = field(default_factory=list)
    listed: int = 0
    groups: tuple[str, ...] = ()


@dataclass(slots=True)
class AnnotationSet:
    """What a reader found.

    Attributes:
        source: path that was read.
        pixel_units: whether coordinates are pixels of the declared size (else fractions of it).
        pictures: in the order of the source; one record a file.
        findings: what was wrong so far; pictures and masks are checked later.
        records: how many records the source lists: pictures and objects.
        parts: names of the parts that the source is divided into, as YOLO's train and val; empty for none.
        form: name of the format.
        file: what its reader was given: a file, or the folder of a format without one.
    """

    source: str
    pixel_units: bool
    pictures: list[PictureRecord] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    records: int = 0
    parts: tuple[str, ...] = ()
    form: str = ""
    file: str = ""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the sound objects, sorted by code point."""
        return tuple(sorted({i.label for p in self.pictures for i in p.instances}))

    def note(self, kind: Kind, where: str, what: str, action: str) -> None:
        """List something that cost no record."""
        self.findings.append(Finding(kind, where, what, action))

    def refuse(self, kind: Kind, where: str, what: str, record: str = "object", lost: int = 1) -> None:
        """List a record that was refused."""
        self.findings.append(Finding(kind, where, what, f"{record} refused", lost))

    def unite_repeated(self) -> None:
        """Make one record of the records that name the same file."""
        first: dict[str, PictureRecord] = {}
        for picture in self.pictures:
            earlier = first.setdefault(picture.file, picture)
            if earlier is picture:
                continue
            what = f"the picture stands at {earlier.where} too"
            if self.pixel_units and (earlier.width, earlier.height) != (picture.width, picture.height):
                lost = 1 + len(picture.instances)
                what += ", with another declared size"
                self.refuse("repeated_picture", picture.where, what, "picture", lost)
            else:
                earlier.width = earlier.width or picture.width
                earlier.height = earlier.height or picture.height
                earlier.groups = tuple(dict.fromkeys((*earlier.groups, *picture.groups)))
                earlier.instances.extend(picture.instances)
                earlier.listed += picture.listed
                self.note("repeated_picture", picture.where, what, "objects of both united")
        self.pictures = list(first.values())


def read_group(record: Mapping[str, Any], column: str | None) -> tuple[str, ...]:
    """The group of a record: its field `column` as text; none if it is missing or no plain value."""
    value = record.get(column) if column else None
    return (str(value),) if isinstance(value, (str, int, float)) and str(value).strip() else ()


def read_crowd(found: AnnotationSet, value: Any, where: str) -> bool:
    """A crowd flag in any form that Azure and COCO know: 1, true, 'true', '1', and their opposites."""
    word = str(value).strip().lower() if isinstance(value, (str, int, float, type(None))) else "?"
    if word not in ("none", "", "0", "1", "true", "false", "0.0", "1.0"):
        found.note("crowd_flag", where, f"crowd flag {short(value)} must be 0 or 1", "taken as 0")
    return word in ("1", "true", "1.0")


def is_class_name(value: Any) -> TypeGuard[str]:
    """Whether a value can name a class: text that isn't blank and can be written to a file."""
    if not isinstance(value, str) or not value.strip():
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
