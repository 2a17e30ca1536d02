"""Files wherever they lie: local paths, and URIs that fsspec knows."""

import os
import re
from pathlib import Path

import fsspec
from upath import UPath

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:\data is a path


def is_remote(path: str) -> bool:
    """Whether a path is a URI of something that isn't on this machine's file system."""
    return bool(_URI.match(path)) and not path.lower().startswith(("file://", "local://"))


def place(path: str) -> Path:
    """A path or URI with pathlib's interface; a `UPath` for what is remote."""
    return UPath(path) if is_remote(path) else Path(path)


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """The content of a file, local or remote."""
    name = os.fspath(path)
    if not is_remote(name):
        return Path(name).read_bytes()
    with fsspec.open(name, "rb") as stream:
        content: bytes = stream.read()
    return content
