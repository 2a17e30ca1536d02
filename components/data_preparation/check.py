"""Look at every picture and every mask of a source: what is sound goes on, what isn't is listed."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from maskline.annotations import AnnotationSet, Finding, Instance, Mask, PictureRecord, Refusal, rasterise
from maskline.errors import DataError
from maskline.pictures import PictureHeader, open_upright, read_header

from .duplicates import fingerprint
from .workers import in_order

Verify = Literal["header", "scaled", "full"]


@dataclass(frozen=True, slots=True)
class CheckedObject:
    """One object: class name, crowd region or not, and its mask."""

    label: str
    crowd: bool
    mask: Mask

    @property
    def key(self) -> tuple[str, bool, str]:
        """What the object is, whatever its place in the file."""
        return self.label, self.crowd, self.mask.counts


@dataclass(frozen=True, slots=True)
class CheckedPicture:
    """One picture that can be decoded, and its objects in the order of their keys.

    Attributes:
        file: absolute path.
        where: file and line, or file and id, of its record.
        width, height: of the upright picture, in pixels.
        sha256: of the file's bytes.
        objects: empty for a background picture.
        groups: of pictures that stay together in a split.
        look: what it looks like, see `duplicates.fingerprint`; None if that wasn't looked at.
    """

    file: str
    where: str
    width: int
    height: int
    sha256: str
    objects: tuple[CheckedObject, ...]
    look: NDArray[np.bool_] | None = None
    groups: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, tuple[tuple[str, bool, str], ...]]:
        """What the picture shows, wherever it lies: the order of all pictures."""
        return self.sha256, tuple(o.key for o in self.objects)

    @property
    def classes(self) -> frozenset[str]:
        """Names of the classes that are learnt from this picture; crowd regions teach nothing."""
        return frozenset(o.label for o in self.objects if not o.crowd)


def check(found: AnnotationSet, verify: Verify = "scaled") -> tuple[list[CheckedPicture], list[Finding]]:
    """Look at every picture and draw every mask, on all cores.

    A picture whose objects were all refused is refused too: it must not become background.

    Args:
        found: what a reader found.
        verify: how far pictures are looked at. `header` reads their sizes only; `scaled` decodes them, JPEG
            files at a smaller scale, so that truncated ones show; `full` decodes everything at full size.

    Returns:
        The sound pictures in the order of `CheckedPicture.key`, and all findings, the reader's included.

    Raises:
        StageError: a process that looks at pictures was killed.
    """
    findings = list(found.findings)
    pictures = []
    look = partial(_check_picture, pixel_units=found.pixel_units, verify=verify)
    for picture, new in in_order(look, found.pictures, lambda record: record.where):
        findings += new
        if picture is not None:
            pictures.append(picture)
    return sorted(pictures, key=lambda p: p.key), findings


def _check_picture(
    record: PictureRecord, *, pixel_units: bool, verify: Verify
) -> tuple[CheckedPicture | None, list[Finding]]:
    findings: list[Finding] = []
    try:
        header, digest, seen = _open(record, verify)
        findings += _check_size(record, header, pixel_units)
    except Refusal as refusal:
        lost = 1 + len(record.instances)
        return None, [Finding(refusal.kind, record.where, refusal.what, "picture refused", lost)]
    objects: dict[tuple[str, bool, str], CheckedObject] = {}
    for instance in record.instances:
        findings += _add_object(objects, instance, header)
    if record.listed and not objects:
        what = f"all {record.listed} objects were refused, and the picture isn't background"
        findings.append(Finding("no_object_left", record.where, what, "picture refused", 1))
        return None, findings
    ordered = tuple(objects[key] for key in sorted(objects))
    width, height = header.width, header.height
    seen_as = (record.file, record.where, width, height, digest, ordered, seen, record.groups)
    return CheckedPicture(*seen_as), findings


def _open(record: PictureRecord, verify: Verify) -> tuple[PictureHeader, str, NDArray[np.bool_] | None]:
    """Header, digest and look of a picture that can be decoded, as far as that is looked at."""
    if not os.path.isfile(record.file):
        raise Refusal("missing_picture", f"{record.file!r} is not there")
    try:
        header = read_header(record.file)
        if verify == "full":
            open_upright(record.file)
        seen = None if verify == "header" else fingerprint(record.file)
        with open(record.file, "rb") as stream:
            return header, hashlib.file_digest(stream, "sha256").hexdigest(), seen
    except (DataError, OSError) as error:
        raise Refusal("broken_picture", str(error)) from None


def _check_size(record: PictureRecord, header: PictureHeader, pixel_units: bool) -> Iterator[Finding]:
    """Compare the declared size with the picture's.

    Raises:
        Refusal: coordinates can't be trusted: the size is that before EXIF rotation, or they are pixels of
            a picture of another size.
    """
    upright = (header.width, header.height)
    declared = (record.width or header.width, record.height or header.height)
    if declared == upright:
        return
    what = f"declared {declared[0]}x{declared[1]}, but the upright picture is {upright[0]}x{upright[1]}"
    if declared == (header.stored_width, header.stored_height):
        raise Refusal(
            "unrotated_size",
            f"{what}: the size is that before EXIF rotation, so the masks may lie on their side; save the "
            "picture upright, or declare its upright size if the masks fit it",
        )
    if pixel_units:
        raise Refusal("wrong_size", f"{what}; coordinates in pixels need the picture they were drawn on")
    yield Finding("wrong_size", record.where, what, "kept; coordinates are fractions")


def _add_object(
    objects: dict[tuple[str, bool, str], CheckedObject], instance: Instance, header: PictureHeader
) -> Iterator[Finding]:
    try:
        mask, notes = rasterise(instance.shape, header.width, header.height)
    except Refusal as refusal:
        yield Finding(refusal.kind, instance.where, refusal.what, "object refused", 1)
        return
    for kind, what, action in notes:
        yield Finding(kind, instance.where, what, action)
    new = CheckedObject(instance.label, instance.crowd, mask)
    if objects.setdefault(new.key, new) is not new:
        what = f"another {instance.label!r} of the picture has the same mask"
        yield Finding("duplicate_object", instance.where, what, "counted once")
