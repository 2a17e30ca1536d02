"""Which format a path holds, and the one door to all readers."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args
from urllib.parse import unquote, urlsplit

from maskline.errors import DataError

from .azure_jsonl import read_azure_jsonl
from .coco import read_coco
from .instance_masks import looks_like_instance_masks, read_instance_masks
from .labelme import looks_like_labelme, read_labelme
from .locations import visible
from .mltable import MLTABLE, MLTable, read_mltable
from .pascal_voc import looks_like_pascal_voc, read_pascal_voc
from .records import AnnotationSet
from .yolo import CROWD, DATA, read_yolo

Format = Literal["mltable", "azure_jsonl", "coco", "pascal_voc", "instance_masks", "yolo", "labelme"]

FORMATS: tuple[Format, ...] = get_args(Format)
KINDS = (*FORMATS, "uri_folder", "uri_file")
"""What `Input.type` may be: a format, or `uri_folder` and `uri_file` for the one that is found."""

FOLDER = "folder"
"""Group column of formats without fields: pictures of one folder belong together."""
_PARTS = 20
"""Folders of a folder without annotations that are looked into, to say where they are."""
_KNOWN = (
    "an MLTable file (mltable), *.jsonl (azure_jsonl), *.json with images and annotations (coco), "
    "JPEGImages/ and SegmentationObject/ (pascal_voc), NAME/images/ and NAME/masks/ (instance_masks), "
    f"{DATA} (yolo), *.json with imagePath and shapes (labelme)"
)


def read_annotations(
    path: str | Path,
    kind: str = "uri_folder",
    label_column: str = "label",
    group_column: str | None = None,
) -> AnnotationSet:
    """Read annotations of any format: a file, or a folder that holds exactly one set of them.

    Pictures and masks aren't looked at here; `pixel_units` and the sizes of the pictures decide later what
    coordinates mean.

    Args:
        path: local file or folder; `file://` and `azureml:./path` are understood.
        kind: one of KINDS.
        label_column: the key that holds the objects of an Azure record (`target_column_name`).
        group_column: the field that holds the group of a picture: a key of an Azure record, of a COCO image
            or of a LabelMe file; or `folder`, where no record has a key of that name: the folder it lies in.

    Raises:
        DataError: nothing is there, the format isn't clear, or the file can't be read at all. Single records
            that can't be used are listed in the findings of the result instead.
    """
    place = Path(os.path.abspath(_local(str(path))))
    if kind not in KINDS:
        raise DataError(f"{path}: type={kind!r} is unknown; choose one of {', '.join(KINDS)}")
    if not place.exists():
        raise DataError(f"{path} is not there; name a local file or folder with annotations")
    file, form = choose(place, kind)
    found = _read(file, form, str(path), label_column, place, group_column)
    found.form, found.file = form, str(file)
    if not found.records:
        raise DataError(f"{file} holds no records; there is nothing to learn from")
    if group_column:
        _check_groups(found, group_column)
    found.unite_repeated()
    return found


def _check_groups(found: AnnotationSet, column: str) -> None:
    """Fill in folders where they are the groups, and list the pictures without one."""
    if not any(picture.groups for picture in found.pictures):
        if column != FOLDER or found.form == "instance_masks":
            raise DataError(
                f"{found.file}: no picture has group_column={column!r}; name a field of Azure's records, of "
                f"COCO's images or of LabelMe's files, or {FOLDER} where pictures lie in folders by group"
            )
        for picture in found.pictures:
            picture.groups = (os.path.dirname(picture.file),)
    for picture in found.pictures:
        if not picture.groups:
            what = f"the picture has no value in group_column={column!r}"
            found.note("no_group", picture.where, what, "split by itself")


def _read(
    file: Path, form: Format, source: str, label_column: str, place: Path, group_column: str | None
) -> AnnotationSet:
    match form:
        case "coco":
            return read_coco(file, source, group_column)
        case "pascal_voc":
            return read_pascal_voc(file, source)
        case "instance_masks":
            return read_instance_masks(file, source)
        case "labelme":
            return read_labelme(file, source, group_column)
        case "yolo":
            inside = place.is_dir() and place != file.parent
            return read_yolo(file, source, place if inside else None)
        case "mltable":
            return read_azure_jsonl(read_mltable(file), source, label_column, group_column)
        case "azure_jsonl":
            return read_azure_jsonl(MLTable((file,)), source, label_column, group_column)


def _local(path: str) -> Path:
    if path.startswith("azureml:") and not path.startswith("azureml://"):
        path = path.removeprefix("azureml:")
    if path.lower().startswith("file://"):
        path = unquote(urlsplit(path).path)
    if "://" in path:
        raise DataError(f"{path} is a URI, which `maskline.sources` reads; name the folder here")
    return Path(path)


def choose(place: Path, kind: str) -> tuple[Path, Format]:
    """The one file or folder of the wanted kind, and its format; a file whose format is named needs no look.

    Raises:
        DataError: none is there, or several are.
    """
    if place.is_file():
        for form in FORMATS:
            if kind == form:
                return place, form
    place = Path(os.path.abspath(place))
    present = list(_candidates(place, kind)) or list(_above(place))
    wanted = [c for c in present if kind in (c[1], "uri_folder", "uri_file")]
    if kind in ("uri_folder", "uri_file") and ("mltable" in (form for _, form in wanted)):
        # Beside an MLTable file, JSON Lines files are what it speaks of.
        wanted = [c for c in wanted if c[1] != "azure_jsonl"]
    if kind != "azure_jsonl" and "yolo" in (form for _, form in wanted):
        wanted = [c for c in wanted if c[0].name != CROWD]
    if len(wanted) == 1:
        return wanted[0]
    present = present or list(_candidates(place))
    listed = ", ".join(f"{file.name} ({form})" for file, form in wanted or present)
    if wanted:
        raise DataError(f"{place} holds more than one set of annotations: {listed}; name the file instead")
    known = f"type={kind!r}" if kind in FORMATS else "annotations of a known type"
    raise DataError(
        f"{place} holds nothing of {known}; "
        + (f"it holds {listed}; name that type" if listed else _below(place) or f"known are {_KNOWN}")
    )


def _below(place: Path) -> str:
    """What the folders hold that lie in it, such as parts; empty if nothing that is known."""
    folders = visible((p for p in place.iterdir() if p.is_dir()), place) if place.is_dir() else []
    found = [f"{p.name} ({form})" for p in folders[:_PARTS] for _, form in _candidates(p)]
    return f"its folders do: {', '.join(found)}; name one of them" if found else ""


def _candidates(place: Path, kind: str = "uri_folder") -> Iterator[tuple[Path, Format]]:
    """All sets of annotations that are there; for a kind that is named, JSON files are read for that only."""
    open_to = {form for form in FORMATS if kind not in FORMATS or form == kind}
    for file in visible(place.iterdir(), place) if place.is_dir() else [place]:
        if not file.is_file():
            continue
        if file.name == MLTABLE:
            yield file, "mltable"
        elif file.name == DATA:
            yield file, "yolo"
        elif file.suffix.lower() == ".jsonl":
            yield file, "azure_jsonl"
        elif file.suffix.lower() == ".json" and "coco" in open_to and _looks_like_coco(file):
            yield file, "coco"
    if "labelme" in open_to and looks_like_labelme(place):
        yield place, "labelme"
    if looks_like_pascal_voc(place):
        yield place, "pascal_voc"
    if looks_like_instance_masks(place):
        yield place, "instance_masks"


def _above(place: Path) -> Iterator[tuple[Path, Format]]:
    """A folder of pictures may be one part of a YOLO data set."""
    for folder in list(place.parents)[:2] if place.is_dir() else []:
        if (folder / DATA).is_file():
            yield folder / DATA, "yolo"
            return


def _looks_like_coco(file: Path) -> bool:
    """Whether both keys stand in the file; told without parsing, since such files may be large."""
    missing = {b'"images"', b'"annotations"'}
    tail = b""
    try:
        with file.open("rb") as stream:
            while missing and (chunk := stream.read(1 << 20)):
                missing = {key for key in missing if key not in tail + chunk}
                tail = chunk[-16:]
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}") from error
    return not missing
