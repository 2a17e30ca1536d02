"""Where a picture is that a record names."""

import os
import re
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from maskline.errors import DataError

from .records import Refusal
from .shapes import short

_LONGEST_NAME = 255  # bytes, on all common file systems
_LONGEST_PATH = 2048  # bytes: half of what Linux takes, since folders stand before it
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def visible(paths: Iterable[Path], top: Path) -> list[Path]:
    """Paths below `top`, sorted, without hidden ones: what systems and tools leave behind is no record."""
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(top).parts))


def files_below(top: Path) -> list[Path]:
    """All files below a folder, sorted, without hidden ones; what a link leads to is listed once.

    Linked folders are entered after all others, so that a folder is listed under its own name where it
    lies below `top` too. A link that leads nowhere is a file.

    Raises:
        DataError: a folder can't be listed.
    """
    found: list[Path] = []
    seen = set[str]()
    waiting = deque([str(top)])
    while waiting:
        for folder, below, names in os.walk(waiting.popleft(), onerror=_tell):
            below[:] = sorted(name for name in below if not name.startswith("."))
            if (real := os.path.realpath(folder)) in seen:
                below.clear()
            else:
                seen.add(real)
                paths = [Path(folder, name) for name in names if not name.startswith(".")]
                # Reading a pipe or a device might never end.
                found += [path for path in paths if path.is_file() or not path.exists()]
            waiting += [path for name in below if os.path.islink(path := os.path.join(folder, name))]
    return sorted(found)


def _tell(error: OSError) -> None:
    raise DataError(f"{error.filename} can't be read: {error.strerror}") from error


def is_remote(file: str) -> bool:
    """Whether the file of a record is a URI."""
    return _SCHEME.match(file) is not None


def local_file(
    name: object,
    folders: Sequence[str],
    *,
    absolute: bool,
    within: str | None = None,
    remote: bool = False,
) -> str:
    """The absolute path of the picture that a record calls `name`.

    A relative name is looked for in `folders`, in turn; where it is in none of them, the path in the first
    is returned, for the caller to find it missing. `azureml:` before a relative name is taken away, and
    `file://` is an absolute path. Names are taken literally: `%20` is no blank, except in `file://`.
    Symbolic links are followed.

    Args:
        name: what the record says.
        folders: absolute paths of folders.
        absolute: whether any absolute path will do; else it must lie in one of `folders`.
        within: folder that a relative name must not leave; None is the folder it was looked for in.
        remote: whether a URI will do; it is returned as it stands.

    Raises:
        Refusal: `name` is no text, no file can be called so, it is a URI that won't do, or it leaves the
            folders.
    """
    if not isinstance(name, str) or not name.strip() or not _can_be_called(name):
        what = f"picture={short(name)} must be the path of a file; names have at most {_LONGEST_NAME} bytes"
        raise Refusal("bad_record", what)
    if name.lower().startswith("file://"):
        name = unquote(urlsplit(name.replace("#", "%23").replace("?", "%3F")).path)
    elif is_remote(name):
        if remote:
            return name
        what = f"picture {short(name)} is a URI, which this format doesn't have; use relative paths"
        raise Refusal("remote_picture", what)
    name = name.removeprefix("azureml:")
    if os.path.isabs(name):
        return _inside(name, folders, anywhere=absolute)
    tried = [_inside(os.path.join(f, name), [within or f], anywhere=False) for f in folders]
    return next((path for path in tried if os.path.isfile(path)), tried[0])


def _can_be_called(name: str) -> bool:
    """Whether file systems have such names at all; one that hasn't would fail at whatever is done with it."""
    try:
        path = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    longest = max(map(len, path.split(b"/")))
    return b"\0" not in path and longest <= _LONGEST_NAME and len(path) <= _LONGEST_PATH


def _inside(path: str, folders: Sequence[str], *, anywhere: bool) -> str:
    path = os.path.normpath(path)
    if not anywhere and not any(os.path.join(path, "").startswith(os.path.join(f, "")) for f in folders):
        what = f"picture {path!r} lies outside the data's folder {folders[0]!r}; move it there"
        raise Refusal("unsafe_path", what)
    return path
