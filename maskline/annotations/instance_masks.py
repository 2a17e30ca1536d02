"""A folder a picture: NAME/images/PICTURE and NAME/masks/*.png, one object a mask.

What isn't 0 in a mask is the object. Classes are the folders below `masks/`; masks that lie in `masks/`
itself are of the class `object`.
"""

from pathlib import Path

from maskline.errors import DataError
from maskline.pictures import SUFFIXES, read_values

from .locations import files_below, visible
from .records import AnnotationSet, Instance, PictureRecord, Refusal
from .shapes import any_channel, from_bitmap

CLASS = "object"
"""The class of masks that aren't sorted into classes."""


def looks_like_instance_masks(folder: Path) -> bool:
    """Whether any sub-folder has both `images/` and `masks/`."""
    return folder.is_dir() and any(
        (f / "images").is_dir() and (f / "masks").is_dir() for f in folder.iterdir() if f.is_dir()
    )


def read_instance_masks(folder: Path, source: str) -> AnnotationSet:
    """Read all sub-folders; one with an empty `masks/` is a background picture, one without is refused."""
    found = AnnotationSet(source, pixel_units=False)
    for place in visible((p for p in folder.iterdir() if p.is_dir()), folder):
        found.records += 1
        try:
            picture = _picture(place)
        except Refusal as refusal:
            found.refuse(refusal.kind, str(place), refusal.what, "picture")
            continue
        _read_masks(found, place / "masks", picture)
        found.pictures.append(picture)
    return found


def _picture(place: Path) -> PictureRecord:
    if not (place / "masks").is_dir():
        raise Refusal("bad_record", "there is no folder masks; make an empty one for a background picture")
    images = place / "images"
    listed = visible(images.iterdir(), images) if images.is_dir() else []
    files = [p for p in listed if p.suffix.lower() in SUFFIXES]
    if len(files) != 1:
        raise Refusal("bad_record", f"images holds {len(files)} pictures; it must hold one")
    return PictureRecord(str(files[0]), str(place))


def _read_masks(found: AnnotationSet, masks: Path, picture: PictureRecord) -> None:
    for file in files_below(masks):
        found.records += 1
        picture.listed += 1
        inside = file.relative_to(masks).parts
        label = inside[0] if len(inside) > 1 else CLASS
        try:
            if file.suffix.lower() not in SUFFIXES:
                raise Refusal("broken_picture", f"{file.name!r} is no picture; only masks belong here")
            values = read_values(file)
        except Refusal as refusal:
            found.refuse(refusal.kind, str(file), refusal.what)
        except DataError as error:
            found.refuse("broken_picture", str(file), str(error))
        else:
            bitmap = from_bitmap(any_channel(values))
            picture.instances.append(Instance(label, False, bitmap, str(file)))
