"""Files anywhere: on this machine, or at any URI that fsspec reaches (s3, gs, abfs, https ...).

A place is a local path or a URI. Credentials come from the environment only, as each store's own tools read
them (`STORES` names the variables); a place that carries a secret is refused, since jobs and pipelines are
shared. What a network does in passing (time-outs, resets, HTTP 408, 425, 429 and 5xx) is tried again with
growing pauses; what is forbidden or not there is an error at once.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from .addresses import STORES, local_path, problem, scheme_of, without_secrets
from .errors import MissingError, StorageError
from .faults import retried
from .parallel import THREADS, in_parallel

PAGE = 1000
"""Files that an S3 store tells of at a time; it allows no more."""
T = TypeVar("T")
_MARKS = ("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "content_md5", "crc32c", "Last-Modified")
_LISTED_FLAT = ("s3", "gs", "abfs")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Attributes:
        place: path or URI.
        name: path below the folder that was listed, with `/`; may hold `..` where a store allows it.
        size: bytes; None where the store doesn't say.
        mark: what the store tells of the content: an entity tag or checksum, changed whenever the content
            is; empty where it tells nothing, as on this machine.
    """

    place: str
    name: str
    size: int | None
    mark: str = ""


def join(place: str, *names: str) -> str:
    """A place below another one; names are taken literally."""
    if local_path(place) is not None and "://" not in place:
        return os.path.join(place, *names)
    literal = [quote(n) for n in names] if scheme_of(place) in ("http", "file") else names
    return "/".join([place.rstrip("/"), *literal])


def info(place: str) -> Entry:
    """What is known of one file without reading it.

    Raises:
        MissingError: there is no such file.
        StorageError: the place can't be reached.
    """
    if (path := local_path(place)) is not None:
        found = _local(place, path.stat)
        return Entry(place, path.name, found.st_size)
    details = _remote(place, lambda fs, key: fs.info(key))
    if details.get("type") == "directory":
        raise MissingError(f"{place} is a folder and no file; name a file in it")
    return _entry(place, place.rsplit("/", 1)[-1], details)


def exists(place: str) -> bool:
    """Whether a file or a folder is there.

    Raises:
        StorageError: the place can't be reached, so that nobody knows.
    """
    if (path := local_path(place)) is not None:
        return path.exists()
    try:
        _remote(place, lambda fs, key: fs.info(key))
    except MissingError:
        return False
    return True


def is_folder(place: str) -> bool:
    """Whether a place is a folder; over https every place that doesn't end in `/` is taken for a file.

    Raises:
        MissingError: nothing is there.
        StorageError: the place can't be reached.
    """
    if (path := local_path(place)) is not None:
        _local(place, path.stat)
        return path.is_dir()
    if scheme_of(place) == "http":
        return place.endswith("/")
    return bool(_remote(place, lambda fs, key: fs.info(key)).get("type") == "directory")


def names(folder: str) -> list[tuple[str, bool]]:
    """What a folder holds itself: names, and whether each is a folder, in the order of names.

    Raises:
        MissingError: there is no such folder.
        StorageError: the place can't be reached.
    """
    if (path := local_path(folder)) is not None:
        return sorted((p.name, p.is_dir()) for p in _local(folder, lambda: list(path.iterdir())))
    found = _remote(folder, lambda fs, key: fs.ls(key, detail=True))
    read = unquote if scheme_of(folder) == "http" else str
    return sorted(
        (read(name), entry.get("type") == "directory")
        for entry in found
        if not _is_marker(entry) and (name := entry["name"].rstrip("/").rsplit("/", 1)[-1])
    )


def files(folder: str) -> Iterator[Entry]:
    """The files that a folder holds itself, in no certain order.

    Raises:
        MissingError: there is no such folder.
        StorageError: the place can't be reached.
    """
    if (path := local_path(folder)) is not None:
        for file in _local(folder, lambda: [p for p in path.iterdir() if p.is_file()]):
            yield Entry(str(file), file.name, file.stat().st_size)
        return
    prefix = folder.rstrip("/") + "/"
    for details in _remote(folder, lambda fs, key: fs.ls(key, detail=True)):
        if details.get("type") != "directory" and not _is_marker(details):
            raw = details["name"].rsplit("/", 1)[-1]
            yield _entry(prefix + raw, unquote(raw) if scheme_of(folder) == "http" else raw, details)


def listing(folder: str) -> Iterator[Entry]:
    """All files below a folder, at any depth, in no certain order.

    In memory at a time is a page of PAGE files of an S3 store, a flat listing of Google's and Azure's
    stores, which their drivers give as a whole, and one folder of every other place.

    Raises:
        MissingError: there is no such folder.
        StorageError: the place can't be reached.
    """
    if (path := local_path(folder)) is not None:
        _local(folder, path.stat)
        yield from _walk_local(path)
    elif scheme_of(folder) == "s3":
        yield from _list_pages(folder)
    elif scheme_of(folder) in _LISTED_FLAT:
        yield from _list_flat(folder)
    else:
        yield from _walk_remote(folder)


def read_bytes(place: str, end: int | None = None) -> bytes:
    """The content of a file, or its first `end` bytes.

    Raises:
        MissingError: there is no such file.
        StorageError: it can't be read.
    """
    if (path := local_path(place)) is not None:
        with _local(place, lambda: path.open("rb")) as stream:
            return _local(place, lambda: stream.read(-1 if end is None else end))
    return bytes(_remote(place, lambda fs, key: fs.cat_file(key, end=end)))


def fetch(place: str, target: Path, size: int | None = None) -> Path:
    """Copy a file to this machine; `target` is there in full or not at all.

    Args:
        place: the file.
        target: path to write; its folder is made if need be.
        size: bytes that the file must have; None if nobody knows.

    Raises:
        MissingError: there is no such file.
        StorageError: it can't be read or has another size.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{uuid.uuid4().hex}.part"
    try:
        if (path := local_path(place)) is not None:
            _local(place, lambda: shutil.copyfile(path, part))
        else:
            _remote(place, lambda fs, key: _get(fs, key, part, size))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return target


def fetch_all(
    wanted: Iterable[tuple[str, Path, int | None]], threads: int = THREADS
) -> Iterator[tuple[Path, StorageError | None]]:
    """Fetch files in parallel, in the order given.

    Args:
        wanted: place, target and size as `fetch` takes them.
        threads: how many files to fetch at a time.

    Returns:
        Of each file its target, and why it couldn't be had; None if it is there.
    """

    def one(item: tuple[str, Path, int | None]) -> tuple[Path, StorageError | None]:
        try:
            return fetch(*item), None
        except StorageError as error:
            return item[1], error

    yield from in_parallel(one, wanted, threads)


def put(source: Path, place: str) -> None:
    """Copy a file from this machine; at `place` there is the old file or the new one, never a part.

    Raises:
        StorageError: it can't be written.
    """
    if scheme_of(place) == "http":
        raise StorageError(f"{without_secrets(place)} is read-only over https; write to a folder or a bucket")
    if (path := local_path(place)) is not None:
        _local(place, lambda: _put_local(source, path), "written")
    else:
        _remote(place, lambda fs, key: _put_remote(fs, source, key, place), "written")


def put_folder(source: Path, place: str) -> None:
    """Copy a folder from this machine, file by file; what else is at `place` stays.

    Raises:
        StorageError: a file can't be written.
    """
    for path in filter(Path.is_file, sorted(source.rglob("*"))):
        put(path, join(place, *path.relative_to(source).parts))


def put_bytes(content: bytes, place: str) -> None:
    """Write a small file, as `put` does.

    Raises:
        StorageError: it can't be written.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        source = Path(folder) / "content"
        source.write_bytes(content)
        put(source, place)


def remove(place: str) -> None:
    """Remove a file, if it is there.

    Raises:
        StorageError: it can't be removed.
    """
    if (path := local_path(place)) is not None:
        _local(place, lambda: path.unlink(missing_ok=True), "removed")
        return
    try:
        _remote(place, lambda fs, key: fs.rm_file(key), "removed")
    except MissingError:
        return


def _remote(place: str, work: Callable[[Any, str], T], verb: str = "read") -> T:
    """Do something at a URI, again where the network failed in passing."""
    if found := problem(place):
        raise StorageError(found)
    store = STORES.get(scheme_of(place))

    def attempt() -> T:
        import fsspec  # takes a tenth of a second, which a job's validation doesn't need

        options = dict(store.options) if store else {}
        fs, key = fsspec.url_to_fs(place, use_listings_cache=False, **options)
        return work(fs, key)

    return retried(attempt, place, verb, store)


def _local(place: str, work: Callable[[], T], verb: str = "read") -> T:
    try:
        return work()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{place} is not there; correct the path") from error
    except OSError as error:
        raise StorageError(f"{place} can't be {verb}: {error.strerror or error}") from error


def _entry(place: str, name: str, details: dict[str, Any]) -> Entry:
    marks = [str(details[key]).strip('"') for key in _MARKS if details.get(key)]
    return Entry(place, name, details.get("size"), marks[0] if marks else "")


def _is_marker(details: dict[str, Any]) -> bool:
    """Whether an object stands for a folder, as consoles of object stores make them."""
    return details.get("type") != "directory" and details["name"].endswith("/")


def _walk_local(root: Path) -> Iterator[Entry]:
    seen = set[str]()
    for folder, below, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            below.clear()  # a link that leads to where it lies
            continue
        seen.add(real)
        below.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            # A link that leads nowhere is listed too: what it means is not for here to say.
            size = os.path.getsize(path) if os.path.exists(path) else None
            yield Entry(path, os.path.relpath(path, root), size)


def _list_pages(folder: str) -> Iterator[Entry]:
    """Page by page, so that a fault costs one page, and millions of files are no matter of memory."""
    bucket, _, key = folder.rstrip("/").partition("://")[2].partition("/")
    prefix = f"{key}/" if key else ""
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": prefix, "MaxKeys": PAGE}
    found = False
    while True:
        page = _remote(folder, lambda fs, key: fs.call_s3("list_objects_v2", **asked))
        for item in page.get("Contents", ()):
            found = True
            if (name := item["Key"].removeprefix(prefix)) and not name.endswith("/"):  # stands for a folder
                yield _entry(f"s3://{bucket}/{item['Key']}", name, {**item, "size": item["Size"]})
        if not page.get("IsTruncated"):
            break
        asked["ContinuationToken"] = page["NextContinuationToken"]
    if not found and key:
        raise MissingError(f"{folder} is not there; correct the path")


def _list_flat(folder: str) -> Iterator[Entry]:
    """Names come without the scheme, and below the name of the folder."""
    prefix = f"{folder.rstrip('/')}/"
    found = _remote(folder, lambda fs, key: (key.rstrip("/") + "/", fs.find(key, detail=True)))
    if not found[1] and not exists(folder):
        raise MissingError(f"{folder} is not there; correct the path")
    for key, details in found[1].items():
        name = key.removeprefix(found[0])
        if name.endswith("/"):
            continue
        yield _entry(prefix + name, name, details)


def _walk_remote(folder: str, above: str = "") -> Iterator[Entry]:
    web = scheme_of(folder) == "http"
    folder = folder.rstrip("/") + "/"
    for details in _remote(folder, lambda fs, key: fs.ls(key, detail=True)):
        raw = details["name"].rstrip("/").rsplit("/", 1)[-1]
        name = unquote(raw) if web else raw
        if details.get("type") == "directory":
            yield from _walk_remote(folder + raw, f"{above}{name}/")
        else:
            yield _entry(folder + raw, above + name, details)


def _get(fs: Any, key: str, part: Path, size: int | None) -> None:
    fs.get_file(key, str(part))
    found = part.stat().st_size
    if size is not None and found != size:
        raise ConnectionError(f"{found} bytes came, and {size} were listed")


def _put_local(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f".{uuid.uuid4().hex}.part"
    try:
        with source.open("rb") as old, part.open("wb") as new:
            shutil.copyfileobj(old, new, 1 << 20)
            new.flush()
            os.fsync(new.fileno())
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _put_remote(fs: Any, source: Path, key: str, place: str) -> None:
    """Object stores show an object when all of it is there; elsewhere it is renamed into place."""
    if scheme_of(place) in _LISTED_FLAT:
        fs.put_file(str(source), key)
        return
    folder, _, _ = key.rpartition("/")
    fs.makedirs(folder, exist_ok=True)
    part = f"{folder}/.{uuid.uuid4().hex}.part"
    try:
        fs.put_file(str(source), part)
        fs.mv(part, key)
    except BaseException:
        if fs.exists(part):
            fs.rm_file(part)
        raise
