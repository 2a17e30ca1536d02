"""From annotations of any format to Azure's, COCO's or YOLO's form, and what the target can't hold."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, get_args

from PIL import Image

from maskline.annotations import Finding
from maskline.errors import DataError
from maskline.pictures import SUFFIXES, read_header
from maskline.sources import clear, fetch_pictures, read_source

from .check import CheckedObject, CheckedPicture, Verify, check
from .forms import IMAGES, Joined, Named, write_azure, write_coco, write_yolo
from .write import count_kinds

Target = Literal["azure", "coco", "yolo"]
TARGETS: tuple[Target, ...] = get_args(Target)
Carry = Literal["copy", "link"]
CONVERSION = "conversion.json"
_SHOWN = 5


@dataclass(frozen=True)
class Conversion:
    """What a conversion did; the same is written to CONVERSION.

    Attributes:
        folder: that was written.
        pictures, objects, crowds: how many were written; crowd regions aren't counted as objects.
        kinds: findings by kind.
        lost: records that couldn't be used.
        notes: what the target holds in another way than the source, or not at all; one sentence each.
    """

    folder: Path
    pictures: int
    objects: int
    crowds: int
    kinds: dict[str, int]
    lost: int
    notes: tuple[str, ...]


def convert(
    source: str,
    folder: str | Path,
    target: Target,
    *,
    kind: str = "uri_folder",
    label_column: str = "label",
    carry: Carry = "copy",
    prefix: str = "",
    verify: Verify = "scaled",
    properties: Mapping[str, str] | None = None,
) -> Conversion:
    """Read annotations, check them as `prepare` does, and write them in another form.

    Pictures, classes, masks and crowd flags are carried over, and no other attributes of records. Records
    that can't be used are left out and listed in CONVERSION, with file and line or id. Pictures keep
    their paths below the folder that is common to all, without folders called `images`.

    Args:
        source: path or URI of a file, a folder or an archive of annotations.
        folder: where to write; new or empty.
        target: the form to write.
        kind: type of the source, see `maskline.annotations.KINDS`.
        label_column: the key that holds the objects of an Azure record.
        carry: copy the pictures, or link to them.
        prefix: see `forms.write_azure`; for `azure` only.
        verify: how far pictures are looked at, see `check`.
        properties: as a job's, which say where datastores lie.

    Raises:
        DataError: nothing can be used, an argument is wrong, or the folder isn't empty.
        StorageError: a store can't be reached.
    """
    folder = Path(folder)
    _refuse(folder, target, carry, prefix)
    staging = Path(tempfile.mkdtemp(prefix="maskline-convert-"))
    try:
        reading = read_source(source, kind, label_column, staging, properties)
        if reading.staging is not None and carry == "link":
            raise DataError(f"pictures of {source} must be fetched or unpacked; use --pictures copy")
        fetch_pictures(reading)
        pictures, findings = check(reading.annotations, verify)
        findings = reading.show_all(findings)
        return _write(source, folder, target, carry, prefix, pictures, findings, reading.annotations.parts)
    finally:
        clear(staging)


def _write(
    source: str,
    folder: Path,
    target: Target,
    carry: Carry,
    prefix: str,
    pictures: Sequence[CheckedPicture],
    findings: Sequence[Finding],
    parts: Sequence[str],
) -> Conversion:
    if not pictures:
        worst = "; ".join(str(f) for f in [f for f in findings if f.lost][:_SHOWN])
        raise DataError(f"{source} has no picture that can be used; {worst}")
    named = _names(pictures, by_stem=target == "yolo")
    classes = sorted({o.label for p in pictures for o in p.objects})
    for name, picture in named:
        _carry(picture.file, folder / IMAGES / name, carry)
    joined = None
    if target == "coco":
        write_coco(folder, named, classes)
    elif target == "azure":
        write_azure(folder, named, prefix)
    else:
        joined = write_yolo(folder, named, classes)
    objects = [o for _, p in named for o in p.objects]
    done = Conversion(
        folder,
        len(named),
        sum(not o.crowd for o in objects),
        sum(o.crowd for o in objects),
        count_kinds(findings),
        sum(f.lost for f in findings),
        tuple(_notes(parts, target, named, objects, joined)),
    )
    _write_conversion(done, source, target, findings)
    return done


def _refuse(folder: Path, target: str, carry: str, prefix: str) -> None:
    if target not in TARGETS:
        raise DataError(f"--to {target} is unknown; choose one of {', '.join(TARGETS)}")
    if carry not in get_args(Carry):
        raise DataError(f"--pictures {carry} is unknown; choose copy or link")
    if prefix and target != "azure":
        raise DataError(f"--image-url belongs to azure; {target} has paths of files only")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder} is not empty; name a new folder, or remove it")


def _names(pictures: Sequence[CheckedPicture], *, by_stem: bool) -> list[Named]:
    """A name for each picture below `images/`, in their order; `by_stem`: also different without suffix."""
    above = os.path.commonpath([os.path.dirname(p.file) for p in pictures])
    taken: set[str] = set()
    named = []
    for picture in sorted(pictures, key=lambda p: p.file):
        name = _safe_name(os.path.relpath(picture.file, above))
        if by_stem and PurePath(name).suffix.lower() not in SUFFIXES:
            with Image.open(picture.file) as image:
                name += f".{(image.format or 'png').lower()}"
        stem, suffix = os.path.splitext(name)
        key, number = stem if by_stem else name, 1
        while key in taken:
            number += 1
            name = f"{stem}_{number}{suffix}"
            key = f"{stem}_{number}" if by_stem else name
        taken.add(key)
        named.append((name, picture))
    return named


def _safe_name(path: str) -> str:
    """A relative path that is text in every file: bytes that aren't UTF-8 become `_xE9`."""
    parts = PurePath(path).parts
    # A name that begins with a dot is hidden, and hidden files are no records.
    kept = [re.sub(r"^\.", "_", part) for part in (*(p for p in parts[:-1] if p != IMAGES), parts[-1])]
    return re.sub(r"[\udc80-\udcff]", lambda m: f"_x{ord(m[0]) - 0xDC00:02X}", str(PurePosixPath(*kept)))


def _carry(file: str, target: Path, carry: Carry) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if carry == "link":
        target.symlink_to(os.path.abspath(file))
    else:
        shutil.copyfile(file, target)


def _notes(
    parts: Sequence[str],
    target: Target,
    named: Sequence[Named],
    objects: Sequence[CheckedObject],
    joined: Joined | None,
) -> Iterator[str]:
    """What a reader of the target should know, where it applies."""
    names = [(os.path.basename(p.file), os.path.basename(name)) for name, p in named]
    if renamed := [(old, new) for old, new in names if old != new]:
        yield f"{len(renamed)} pictures have another name now, {renamed[0][0]!r} is {renamed[0][1]!r} for one"
    if turned := sum(read_header(p.file).turned for _, p in named):
        yield (
            f"{turned} pictures carry an EXIF rotation; masks fit the upright picture; a tool that ignores "
            "EXIF, as Azure ML does, needs those pictures saved upright"
        )
    if len(parts) > 1:
        yield (
            f"the parts {', '.join(parts)} are one set now; to keep them apart, convert their folders of "
            "pictures one by one"
        )
    crowds = sum(o.crowd for o in objects)
    if target == "azure" and crowds:
        yield f"{crowds} crowd regions have isCrowd: 1; Azure ML trains on them as on any object"
    if target == "yolo" and crowds:
        yield f"{crowds} crowd regions, which YOLO can't hold, are in crowd.jsonl, which Maskline alone reads"
    if joined and (joined.holed or joined.several):
        yield (
            f"{joined.holed} objects with holes and {joined.several} of several parts are one ring each, "
            "joined by bridges of no width; Maskline reads them exactly, other tools may draw a bridge one "
            "pixel wide"
        )


def _write_conversion(done: Conversion, source: str, target: Target, findings: Sequence[Finding]) -> None:
    data = {
        "source": source,
        "target": target,
        "counts": {"pictures": done.pictures, "objects": done.objects, "crowds": done.crowds},
        "lost": done.lost,
        "kinds": done.kinds,
        "notes": done.notes,
        "findings": [
            {"kind": f.kind, "where": f.where, "what": f.what, "action": f.action, "lost": f.lost}
            for f in findings
        ],
    }
    text = json.dumps(data, indent=2)
    (done.folder / CONVERSION).write_text(text + "\n", encoding="utf-8")
