"""Put pictures into the prepared data set: those that would be gone, or all of them."""

import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from maskline.artifacts import PICTURES
from maskline.errors import DataError
from maskline.parallel import in_parallel

from .check import CheckedPicture

_LONGEST_NAME = 80


def place_pictures(
    splits: Mapping[str, Sequence[CheckedPicture]], folder: Path, staging: Path, materialise: bool | None
) -> dict[str, list[CheckedPicture]]:
    """Move or copy pictures to `pictures/` of the prepared data set, under a name that holds their digest.

    Args:
        splits: pictures by split.
        folder: of the prepared data set.
        staging: folder of pictures that were fetched or unpacked; they are moved.
        materialise: copy all others too; None leaves them where they are; False refuses what was staged.

    Returns:
        The splits; files of pictures that were moved or copied are relative to `folder`.

    Raises:
        DataError: pictures were fetched, and `materialise` is False; or the disk is full.
    """
    shutil.rmtree(folder / PICTURES, ignore_errors=True)  # of an earlier preparation

    def place(picture: CheckedPicture) -> CheckedPicture:
        fetched = Path(picture.file).is_relative_to(staging)
        if fetched and materialise is False:
            raise DataError(
                f"materialise=false leaves pictures where they lie, and that of {picture.where} is not on "
                "this machine; leave it out for remote data and archives"
            )
        if not fetched and not materialise:
            return picture
        name = _name(picture)
        _carry(Path(picture.file), folder / name, move=fetched)
        return replace(picture, file=name)

    try:
        return {name: list(in_parallel(place, pictures)) for name, pictures in splits.items()}
    except OSError as error:
        raise DataError(f"pictures can't be written to {folder}: {error.strerror or error}") from error


def _name(picture: CheckedPicture) -> str:
    """The same for the same bytes and name wherever they lie; plain letters, for any store."""
    last = re.sub(r"[^A-Za-z0-9._-]", "_", Path(picture.file).name)[-_LONGEST_NAME:]
    return f"{PICTURES}/{picture.sha256[:2]}/{picture.sha256[:16]}_{last}"


def _carry(source: Path, target: Path, move: bool) -> None:
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if move:
        os.replace(source, target)
        return
    part = target.parent / f".{uuid.uuid4().hex}.part"
    shutil.copyfile(source, part)
    os.replace(part, target)
