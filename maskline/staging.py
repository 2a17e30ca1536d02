"""The annotations of a remote folder, brought to this machine so that readers can work on them."""

import contextlib
import os
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from . import storage
from .addresses import scheme_of
from .annotations.formats import choose
from .annotations.mltable import MLTABLE, load_yaml
from .annotations.yolo import DATA
from .errors import DataError, MissingError
from .parallel import in_parallel
from .pictures import SUFFIXES

NAMING = ("mltable", "azure_jsonl", "coco")
"""Formats whose records name their pictures; the others list folders."""
_ANNOTATIONS = frozenset((".json", ".jsonl", ".txt", ".xml", ".yaml", ".yml"))
_MASK_FOLDERS = frozenset(("masks", "SegmentationObject", "SegmentationClass"))
_LEVELS = 2
"""Folders above the named one that a format may look into, where the store has them."""


def _split(place: str) -> tuple[str, tuple[str, ...]]:
    """A URI as a root, and the path below it: as many levels as a format may look up, and the last name."""
    scheme, _, rest = place.rstrip("/").partition("://")
    host, *names = rest.split("/")
    cut = max(len(names) - 1 - _LEVELS, 0)
    below = names[cut:]
    if scheme_of(place) == "http":
        if urlsplit(place).query or urlsplit(place).fragment:
            raise DataError(
                f"{place} has a query, and the files beside it need a plain address; leave it out"
            )
        below = [unquote(name) for name in below]
    if not all(map(_is_plain, below)):
        raise DataError(f"{place} has an empty name or .. in it; write it plainly")
    return f"{scheme}://{'/'.join([host, *names[:cut]])}", tuple(below)


class Fetcher:
    """Brings the annotations of a remote place below the local folder `data`, which stands for `root`.

    Raises:
        DataError: the place is written in a way that can't be.
    """

    def __init__(self, place: str, data: Path) -> None:
        self.root, self.below = _split(place)
        self.data = data
        self.here = data.joinpath(*self.below)

    def is_file(self) -> bool:
        """Whether the place is a file of annotations and no folder."""
        place, below = self._place(self.below), self.below
        if scheme_of(place) != "http":
            return not storage.is_folder(place)
        # The web has no folders; what is named like annotations is taken for a file.
        return bool(below) and (
            below[-1] == MLTABLE or PurePosixPath(below[-1]).suffix.lower() in _ANNOTATIONS
        )

    def look(self, kind: str, most: int | None = None) -> str:
        """Fetch the annotations that lie in the folder itself; gives the format, empty if it isn't clear yet.

        With more than `most` JSON files they aren't fetched, and the format isn't told by them.
        """
        self.here.mkdir(parents=True, exist_ok=True)
        files = []
        for name, folder in storage.names(self._place(self.below)):
            if folder and _is_plain(name):
                (self.here / name).mkdir(exist_ok=True)
            elif name == MLTABLE or PurePosixPath(name).suffix.lower() in _ANNOTATIONS:
                files.append((*self.below, name))
        many = [file for file in files if file[-1].lower().endswith(".json")]
        if most is not None and len(many) > most:
            files = [file for file in files if file not in many]
        self._fetch_all(files)
        try:
            return choose(self.here, kind)[1]
        except DataError:
            return ""

    def annotations(self, kind: str) -> Path:
        """Fetch what the reader of the format needs; returns the local file or folder to read."""
        if self.is_file():
            if self.below[-1] == DATA:
                self._tree(self.below[:-1])
            return self._fetch(self.below)
        form = self.look(kind)
        if form == "mltable":
            self._tables()
        elif form not in NAMING:
            self._tree(self.below)
            if not self._clear() and (above := self._yolo_above(kind)):
                self._tree(above)
        return self.here

    def _place(self, below: tuple[str, ...]) -> str:
        return storage.join(self.root, *below)

    def _fetch(self, below: tuple[str, ...], size: int | None = None) -> Path:
        target = self.data.joinpath(*below)
        return target if target.exists() else storage.fetch(self._place(below), target, size)

    def _fetch_all(self, files: list[tuple[str, ...]]) -> None:
        for _ in in_parallel(self._fetch, files):
            pass

    def _tables(self) -> None:
        """The files that an MLTable names; what is wrong with it is the reader's to say."""
        entries = load_yaml(self.here / MLTABLE).get("paths")
        named = [e for e in entries if isinstance(e, dict)] if isinstance(entries, list) else []
        files = [str(e["file"]) for e in named if "file" in e]
        if len(files) < len(named):
            self._tree(self.below, pictures=False)
        for parts in [PurePosixPath(name).parts for name in files if "://" not in name]:
            if all(map(_is_plain, parts)):
                with contextlib.suppress(MissingError):
                    self._fetch((*self.below, *parts))

    def _tree(self, below: tuple[str, ...], pictures: bool = True) -> None:
        """All annotations at any depth, and for each picture a file of its size without content."""

        def bring(entry: storage.Entry) -> None:
            parts = PurePosixPath(entry.name).parts
            target = self.data.joinpath(*below, *parts)
            if not all(map(_is_plain, parts)) or target.exists():
                return
            suffix = target.suffix.lower()
            if suffix in _ANNOTATIONS or (suffix in SUFFIXES and _MASK_FOLDERS & set(parts[:-1])):
                storage.fetch(entry.place, target, entry.size)
            elif pictures and suffix in SUFFIXES:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
                os.truncate(target, entry.size or 0)

        for _ in in_parallel(bring, storage.listing(self._place(below))):
            pass

    def _clear(self) -> bool:
        """Whether a format is seen in what was fetched."""
        try:
            choose(self.here, "uri_folder")
        except DataError:
            return False
        return True

    def listed(self, kind: str) -> str:
        """The folder whose files are the data of a format that lists one; empty for a file of annotations.

        That is the folder of data.yaml, where the place is a part of a YOLO data set.
        """
        if self.is_file():
            return self._place(self.below[:-1]) if self.below[-1] == DATA else ""
        return self._place(self._yolo_above(kind) or self.below)

    def _yolo_above(self, kind: str) -> tuple[str, ...]:
        """A folder of pictures may be a part of a YOLO data set, whose data.yaml lies above it."""
        if kind in ("yolo", "uri_folder") and not storage.exists(self._place((*self.below, DATA))):
            for levels in range(1, min(_LEVELS, len(self.below)) + 1):
                above = self.below[:-levels]
                if storage.exists(self._place((*above, DATA))):
                    return above
        return ()


def _is_plain(name: str) -> bool:
    """Whether a name from a store can be one of a file here, and stays where it is put."""
    return name not in ("", ".", "..", "/") and "\0" not in name and "/" not in name
