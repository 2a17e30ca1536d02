"""A digest of data wherever they lie, as cheap as it can be had.

Where a store tells an entity tag or a checksum, that stands for a file, and the file isn't read. Files of
this machine are read, pictures of more than LARGEST_READ bytes in part, with their time of change. Of data
whose records name their pictures, the annotations and those pictures count; of others the whole folder.
"""

import hashlib
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from maskline import storage
from maskline.addresses import local_path
from maskline.annotations.mltable import read_mltable
from maskline.archives import is_archive
from maskline.data_job import data_job, kind_of
from maskline.errors import MissingError
from maskline.inputs import in_datastore
from maskline.job import ImageInstanceSegmentationJob
from maskline.parallel import in_parallel
from maskline.sources import Reading, listed_folder, read_source

LARGEST_READ = 8 << 20
"""Bytes up to which a picture is read in full."""
LISTED = 50
"""Pictures of a remote folder from which on it is listed, instead of asking for each."""


def snapshot_job(
    job: ImageInstanceSegmentationJob, places: Mapping[str, str], data_version: str = ""
) -> tuple[ImageInstanceSegmentationJob, str]:
    """What data_preparation needs of a job, and the digest of its data.

    Args:
        job: says how the data are laid out and where datastores lie.
        places: path or URI of each part of the data; empty for a part that isn't given.
        data_version: text that stands for the data; they aren't looked at then.

    Raises:
        DataError: annotations can't be read at all.
        JobError: a datastore without a mapping.
        StorageError: a store can't be reached.
    """
    if data_version:
        return data_job(job), hashlib.sha256(f"data_version {data_version}".encode()).hexdigest()
    column = job.target_column_name or "label"
    parts = {
        name: snapshot(place, kind_of(job, name), column, job.properties)
        for name, place in places.items()
        if place
    }
    return data_job(job), hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def snapshot(place: str, kind: str, label_column: str, properties: Mapping[str, str]) -> str:
    """The digest of one part of the data: equal for equal files, in whatever order they are listed.

    Raises:
        DataError: annotations can't be read at all.
        JobError: a datastore without a mapping.
        StorageError: a store can't be reached.
    """
    place = in_datastore(place, properties)
    total = _Sum()
    with tempfile.TemporaryDirectory(prefix="maskline-snapshot-") as folder:
        if is_archive(place):
            total.add(("archive", _mark(place, whole=True)))
        elif listed := listed_folder(place, kind, Path(folder)):
            total.add_all(_of_folder(listed))
        else:
            total.add_all(_of_records(read_source(place, kind, label_column, Path(folder), properties)))
    return total.hexdigest()


class _Sum:
    """A digest that doesn't depend on the order: the sum of all digests, one number however many come."""

    def __init__(self) -> None:
        self._sum = 0
        self._count = 0

    def add(self, item: object) -> None:
        self._sum += int.from_bytes(hashlib.sha256(json.dumps(item).encode()).digest(), "big")
        self._count += 1

    def add_all(self, items: Iterable[object]) -> None:
        for item in items:
            self.add(item)

    def hexdigest(self) -> str:
        return hashlib.sha256(f"{self._count} {self._sum}".encode()).hexdigest()


def _of_folder(folder: str) -> Iterator[tuple[str, str]]:
    def entry(found: storage.Entry) -> tuple[str, str]:
        return found.name, _told(found) or _mark_if_there(found.place)

    yield from in_parallel(entry, storage.listing(folder))


def _of_records(reading: Reading) -> Iterator[tuple[str, str]]:
    """The annotation files in full, and the pictures that they name."""
    file = Path(reading.annotations.file)
    files = [file]
    if reading.annotations.form == "mltable":
        files += read_mltable(file).files
    for path in files:
        yield os.path.relpath(path, file.parent), _content(path, whole=True)
    root = str(file.absolute().parent)
    wanted = [
        (os.path.relpath(r.file, root) if os.path.isabs(r.file) else r.file, r)
        for r in reading.annotations.pictures
    ]
    places = [(name, found) for name, record in wanted if (found := reading.try_places(record))]
    listed = _Listed(places)

    def entry(item: tuple[str, list[str]]) -> tuple[str, str]:
        name, candidates = item
        return name, next(filter(None, map(listed.mark, candidates)), "missing")

    yield from in_parallel(entry, places)


class _Listed:
    """Marks of pictures; those of a folder with many of them are had by listing it once."""

    def __init__(self, places: list[tuple[str, list[str]]]) -> None:
        wanted = {place for _, found in places for place in found if local_path(place) is None}
        folders = Counter(place.rpartition("/")[0] for place in wanted if not place.startswith("http"))
        self._folders = {folder for folder, number in folders.items() if number >= LISTED}
        self._marks: dict[str, str] = {}
        for folder in sorted(self._folders):
            try:
                for entry in storage.files(folder):
                    if entry.place in wanted:
                        self._marks[entry.place] = _told(entry)
            except MissingError:
                continue

    def mark(self, place: str) -> str:
        """The mark of a picture; empty if it isn't there."""
        if place.rpartition("/")[0] in self._folders:
            if place not in self._marks:
                return ""
            if found := self._marks[place]:
                return found
        return _mark_if_there(place)


def _told(entry: storage.Entry) -> str:
    """What the store says of a file's content; empty if it says nothing."""
    return f"{entry.size} {entry.mark}" if entry.mark else ""


def _mark_if_there(place: str) -> str:
    try:
        return _mark(place)
    except MissingError:
        return ""


def _mark(place: str, whole: bool = False) -> str:
    """What stands for the content of a file: what the store says, or the content itself.

    Raises:
        MissingError: there is no such file.
        StorageError: it can't be read.
    """
    if (path := local_path(place)) is not None:
        storage.info(place)
        return _content(path, whole)
    found = storage.info(place)
    if told := _told(found):
        return told
    content = storage.read_bytes(place, None if whole else LARGEST_READ)
    return f"{found.size} {hashlib.sha256(content).hexdigest()}"


def _content(path: Path, whole: bool = False) -> str:
    """The digest of a local file; of a large one that isn't read as a whole, of its ends and its time."""
    try:
        return _digest(path, whole)
    except OSError as error:  # data_preparation refuses it by name, and more of them than allowed
        return f"can't be read: {error.strerror}"


def _digest(path: Path, whole: bool) -> str:
    with path.open("rb") as stream:
        state = os.fstat(stream.fileno())
        if whole or state.st_size <= LARGEST_READ:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns}".encode())
        digest.update(stream.read(LARGEST_READ // 2))
        stream.seek(-LARGEST_READ // 2, os.SEEK_END)
        digest.update(stream.read())
        return digest.hexdigest()
