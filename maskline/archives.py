"""Archives from outside, unpacked so that nothing leaves the folder and nothing grows without bound."""

import gzip
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from .addresses import is_uri
from .errors import DataError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz")
"""How names of archives end, in any case."""
MOST_FILES = 20_000_000
LARGEST_RATIO = 200
"""Unpacked bytes a byte of the archive. Pictures don't shrink, JSON shrinks to a twentieth."""
FREE_OF_RATIO = 256 << 20
"""Unpacked bytes in all up to which the ratio doesn't count."""
KEPT_FREE = 0.05
"""Share of the disk's free space that unpacking leaves."""
_DAMAGED = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


def is_archive(place: str) -> bool:
    """Whether a path or URI is that of an archive, by its name."""
    name = urlsplit(place).path if is_uri(place) else place
    return name.lower().endswith(SUFFIXES)


def unpack(archive: Path, folder: Path, shown: str) -> None:
    """Unpack a zip or tar archive.

    What macOS adds for itself (`__MACOSX/`, `._NAME`, `.DS_Store`) is left out.

    Args:
        archive: the file.
        folder: where to; made if need be. After an error it may hold a part of the files.
        shown: what the archive is called in errors.

    Raises:
        DataError: a member is no plain file or folder, or would lie outside; or the archive is damaged,
            encrypted, or unpacks to too many files or bytes. Told before that member is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    budget = _Budget(archive, folder, shown)
    try:
        read = _zip_members if zipfile.is_zipfile(archive) else _tar_members
        for name, size, source in read(archive, shown, budget):
            target = folder.joinpath(*PurePosixPath(name).parts)
            if source is None:
                target.mkdir(parents=True, exist_ok=True)  # an empty folder may say something
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                shutil.copyfileobj(source, stream, 1 << 20)
            if target.stat().st_size != size:
                raise DataError(f"{shown}: {name!r} is cut off; pack the archive again")
    except _DAMAGED as error:
        what = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{shown} can't be unpacked: {what}; it must be a zip or tar archive") from error
    except OSError as error:
        what = error.strerror or " ".join(str(error).split())
        raise DataError(f"{shown} can't be unpacked: {what}") from error


_Member = tuple[str, int, IO[bytes] | None]
"""Name, size and content; a folder has none."""


class _Budget:
    """What an archive may still unpack to."""

    def __init__(self, archive: Path, folder: Path, shown: str) -> None:
        self.shown = shown
        self.files = 0
        self.size = 0
        packed = archive.stat().st_size
        self.by_ratio = max(LARGEST_RATIO * packed, FREE_OF_RATIO)
        self.by_disk = int(shutil.disk_usage(folder).free * (1 - KEPT_FREE))

    def take(self, name: str, size: int) -> None:
        self.files += 1
        self.size += size
        if self.files > MOST_FILES:
            raise DataError(f"{self.shown} holds more than {MOST_FILES} files; split it")
        if self.size > self.by_ratio:
            raise DataError(
                f"{self.shown}: with {name!r} it unpacks to {self.size} bytes, more than {LARGEST_RATIO} "
                "times its own size, as only archives do that are meant to harm; give the folder instead"
            )
        if self.size > self.by_disk:
            raise DataError(
                f"{self.shown}: with {name!r} it unpacks to {self.size} bytes, and the disk has room for "
                f"{self.by_disk}; make room, or give the folder instead"
            )


def _zip_members(archive: Path, shown: str, budget: _Budget) -> Iterator[_Member]:
    """Names and sizes stand in a directory of their own, so all are checked before the first is written."""
    with zipfile.ZipFile(archive) as opened:
        wanted = []
        for member in opened.infolist():
            # What the name is before zipfile makes it harmless.
            name = _checked(member.orig_filename, shown)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DataError(f"{shown}: {name!r} is a link or device; pack plain files only")
            if member.flag_bits & 1:
                raise DataError(f"{shown}: {name!r} is encrypted; pack the archive without a password")
            if _is_junk(name):
                continue
            budget.take(name, member.file_size)
            wanted.append((name, member))
        for name, member in wanted:
            if member.is_dir():
                yield name, 0, None
                continue
            with opened.open(member) as source:
                yield name, member.file_size, source


def _tar_members(archive: Path, shown: str, budget: _Budget) -> Iterator[_Member]:
    with archive.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        # tarfile's own gzip streams don't look at the checksum at the end.
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        with tarfile.open(fileobj=stream, mode="r|") as opened:
            for member in opened:
                vars(opened)["members"] = []  # else it keeps every member that it has passed
                name = _checked(member.name, shown)
                if not (member.isreg() or member.isdir()) or member.issparse():
                    raise DataError(f"{shown}: {name!r} is a link, a device or sparse; pack plain files only")
                budget.take(name, 0 if member.isdir() else member.size)
                if not _is_junk(name):
                    yield name, member.size, None if member.isdir() else opened.extractfile(member)
        while rest := stream.read(1 << 20):
            budget.take("the padding", len(rest))


def _checked(name: str, shown: str) -> str:
    """The name of a member, if it lies below the folder on every system."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if name.startswith(("/", "\\")) or ".." in parts or "\0" in name or (parts and parts[0][1:2] == ":"):
        raise DataError(f"{shown}: {name!r} would lie outside the folder; pack relative names without ..")
    return name


def _is_junk(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[0] == "__MACOSX" or parts[-1] == ".DS_Store" or parts[-1].startswith("._")


def sole_folder(folder: Path) -> Path | None:
    """The one folder that a folder holds and nothing else, as archives of a folder do."""
    found = [entry for entry in os.scandir(folder) if not _is_junk(entry.name)]
    return Path(found[0].path) if len(found) == 1 and found[0].is_dir(follow_symlinks=False) else None
