"""Where a picture is that a record names."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .records import Refusal
from .shapes import short

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def visible(paths: Iterable[Path], top: Path) -> list[Path]:
    """Paths below `top`, sorted, without hidden ones: what systems and tools leave behind is no record."""
    return sorted(p for p in paths if not any(part.startswith(".") for part in p.relative_to(top).parts))


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
        Refusal: `name` is no text, a URI that won't do, or leaves the folders.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise Refusal("bad_record", f"picture={short(name)} must be the path of a file")
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


def _inside(path: str, folders: Sequence[str], *, anywhere: bool) -> str:
    path = os.path.normpath(path)
    if not anywhere and not any(os.path.join(path, "").startswith(os.path.join(f, "")) for f in folders):
        what = f"picture {path!r} lies outside the data's folder {folders[0]!r}; move it there"
        raise Refusal("unsafe_path", what)
    return path
