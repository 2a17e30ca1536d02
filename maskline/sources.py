"""Annotated pictures wherever they lie: local folders, URIs, archives, and datastores of Azure's.

Local folders are read in place. Of remote data the annotations are fetched first, and then only the pictures
that they name; readers work on the fetched files as on any local folder. Pictures that a format finds by
listing its folders stand there as empty files of the listed size until they are fetched, so that the
names of millions of pictures are on the disk and not in memory. Archives are fetched and unpacked.
"""

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from urllib.parse import quote, urlsplit

from . import storage
from .addresses import is_uri, local_path, problem
from .annotations import AnnotationSet, Finding, PictureRecord, Refusal, read_annotations
from .annotations.coco import picture_folders
from .annotations.formats import choose
from .annotations.locations import is_remote
from .archives import is_archive, sole_folder, unpack
from .errors import DataError, JobError, MissingError
from .inputs import in_datastore
from .parallel import in_parallel
from .staging import NAMING, Fetcher

_MOST_LOOKED = 20
"""JSON files of a folder up to which it may be one whose records name their pictures; COCO has a few."""


@dataclass
class Reading:
    """Annotations that were read, and where their pictures lie.

    Attributes:
        annotations: what the reader found; files of records are local paths or URIs.
        staging: folder for what is fetched or unpacked; None where all is read in place.
        staged: whether the annotations are there themselves, in `staging`/data.
        root: URI that the folder `staging`/data stands for; empty if it stands for an archive.
        shown: of what was staged, the text to show for a path: longest first.
    """

    annotations: AnnotationSet
    staging: Path | None = None
    staged: bool = False
    root: str = ""
    properties: Mapping[str, str] = field(default_factory=dict)
    shown: list[tuple[str, str]] = field(default_factory=list)

    def show(self, text: str) -> str:
        """A message with places as the user knows them, and not where they were staged."""
        for path, place in self.shown:
            text = text.replace(path, place)
        return text

    def show_all(self, findings: list[Finding]) -> list[Finding]:
        """The same for findings."""
        if not self.shown:
            return findings
        return [replace(f, where=self.show(f.where), what=self.show(f.what)) for f in findings]

    def places(self, record: PictureRecord) -> list[str]:
        """Where the picture of a record may lie, in the order in which to look.

        Raises:
            Refusal: it is in a datastore without a mapping, its URI holds a secret, or its path leaves the
                data.
        """
        if is_remote(record.file):
            return [self._remote_place(record.file)]
        if self.staging is None:
            return [record.file]
        data = self.staging / "data"
        if not self.staged:
            return [record.file]  # one of a local set that names URIs elsewhere
        if not Path(record.file).is_relative_to(data):
            what = f"picture {record.file!r} lies on this machine, and the data don't; use relative paths"
            raise Refusal("unsafe_path", what)
        if not self.root:
            return [record.file]
        if os.path.isdir(record.file):
            raise Refusal("missing_picture", f"{record.file!r} is a folder and no picture")
        folders = [str(Path(record.file).parent)]
        name = Path(record.file).name
        if self.annotations.form == "coco":
            folders = picture_folders(Path(self.annotations.file))
            name = os.path.relpath(record.file, folders[0])
        paths = [Path(os.path.normpath(os.path.join(folder, name))) for folder in folders]
        return [self._uri_of(path.relative_to(data)) for path in paths if path.is_relative_to(data)]

    def try_places(self, record: PictureRecord) -> list[str]:
        """The same, and nothing for a record whose picture can't be looked for."""
        try:
            return self.places(record)
        except Refusal:
            return []

    def _uri_of(self, below: Path) -> str:
        return storage.join(self.root, *below.parts)

    def _remote_place(self, uri: str) -> str:
        try:
            place = in_datastore(uri, self.properties)
        except JobError as error:
            raise Refusal("remote_picture", str(error)) from None
        if found := problem(place):
            raise Refusal("remote_picture", found)
        return place


def read_source(
    place: str,
    kind: str,
    label_column: str,
    staging: Path,
    properties: Mapping[str, str] | None = None,
    group_column: str | None = None,
) -> Reading:
    """Read annotations wherever they lie; pictures aren't fetched, see `fetch_pictures`.

    Args:
        place: local path or URI of a folder, a file or an archive, or a path in a datastore.
        kind: one of `maskline.annotations.KINDS`.
        label_column: see `read_annotations`.
        staging: folder for what must be fetched or unpacked; made if need be.
        properties: the job's, which say where datastores lie.
        group_column: see `read_annotations`.

    Raises:
        DataError: see `read_annotations`; names places as the user knows them.
        JobError: a datastore without a mapping.
        StorageError: the place can't be reached.
    """
    properties = properties or {}
    place = in_datastore(place, properties)
    local = local_path(place)
    if local is not None and not is_archive(place):
        found = read_annotations(local if is_uri(place) else place, kind, label_column, group_column)
        return Reading(found, staging, properties=properties) if _names_uris(found) else Reading(found)
    data = staging / "data"
    source = Reading(AnnotationSet(place, pixel_units=False), staging, staged=True, properties=properties)
    try:
        if is_archive(place):
            here = _unpacked(place, kind, staging)
            source.shown = [(str(here), place)]
        else:
            fetcher = Fetcher(place, data)
            source.root = fetcher.root
            source.shown = [(str(data), source.root)]
            here = fetcher.annotations(kind)
        source.annotations = read_annotations(here, kind, label_column, group_column)
    except DataError as error:
        raise DataError(source.show(str(error))) from error
    source.annotations.source = place
    return source


def listed_folder(place: str, kind: str, staging: Path) -> str:
    """The folder whose files are the data, for formats that list one; empty for those that name pictures.

    Args:
        place: local path or URI, of no archive.
        kind: one of `maskline.annotations.KINDS`.
        staging: as `read_source` takes it, which then finds there what was fetched for the look.

    Raises:
        DataError: the format isn't clear.
        StorageError: the place can't be reached.
    """
    local = local_path(place)
    if local is None:
        fetcher = Fetcher(place, staging / "data")
        if not fetcher.is_file() and fetcher.look(kind, _MOST_LOOKED) in NAMING:
            return ""
        return fetcher.listed(kind)
    if not local.exists():
        return ""  # which is for the reader to say
    file, form = choose(local, kind)
    if form in NAMING or (form == "labelme" and file.is_file()):
        return ""
    return str(file.parent if file.is_file() else file)


def fetch_pictures(source: Reading) -> None:
    """Bring the pictures of all records to this machine; records are changed to name them there.

    Pictures that aren't there are left for the check of pictures to find. Records whose picture can't be
    looked for are refused.

    Raises:
        StorageError: a store can't be reached, or refuses.
    """
    if source.staging is None:
        return
    annotations, best = source.annotations, [0]

    def bring(record: PictureRecord) -> tuple[PictureRecord, Refusal | None]:
        try:
            places = source.places(record)
            if is_remote(record.file):
                record.file = str(_target(source, record.file))
            if places != [record.file]:
                _fetch_first(places, Path(record.file), best)
        except Refusal as refusal:
            return record, refusal
        return record, None

    kept = []
    for record, refusal in in_parallel(bring, annotations.pictures):
        if refusal is None:
            kept.append(record)
        else:
            annotations.refuse(refusal.kind, record.where, refusal.what, "picture", 1 + len(record.instances))
    annotations.pictures = kept


def _names_uris(found: AnnotationSet) -> bool:
    return any(is_remote(record.file) for record in found.pictures)


def _fetch_first(places: list[str], target: Path, best: list[int]) -> None:
    """Fetch from the first place that has it, beginning with the one that had the last picture."""
    size = target.stat().st_size if target.exists() else None
    order = sorted(range(len(places)), key=lambda i: i != best[0])
    for index in order:
        try:
            storage.fetch(places[index], target, size)
        except MissingError:
            continue
        best[0] = index
        return
    target.unlink(missing_ok=True)


def _target(source: Reading, uri: str) -> Path:
    """Where a picture is staged that is named by URI."""
    parts = urlsplit(uri)
    name = parts.netloc + parts.path + (f"?{quote(parts.query, safe='')}" if parts.query else "")
    folder = f"{source.staging}/elsewhere/{parts.scheme}"
    shown = (f"{folder}/", f"{parts.scheme}://")
    if shown not in source.shown:
        source.shown.append(shown)
    path = Path(os.path.normpath(f"{folder}/{name}"))
    if not path.is_relative_to(folder) or "\0" in name:
        raise Refusal("unsafe_path", f"picture {uri!r} leaves its host or bucket; write it without ..")
    return path


def _unpacked(place: str, kind: str, staging: Path) -> Path:
    """The folder of an archive's files: its top, or the one folder in it if that holds the data."""
    local = local_path(place)
    archive = local or storage.fetch(place, staging / PurePosixPath(urlsplit(place).path).name)
    if not archive.exists():
        raise DataError(f"{place} is not there; correct the path")
    here = staging / "data"
    unpack(archive, here, place)
    if local is None:
        archive.unlink()
    while (below := sole_folder(here)) is not None:
        try:
            choose(here, kind)
        except DataError:
            here = below
        else:
            break
    return here


def clear(staging: Path) -> None:
    """Remove what was staged."""
    shutil.rmtree(staging, ignore_errors=True)
