"""How a place is written: a local path, or a URI without secrets, and what a store behind a URI needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from urllib.request import url2pathname

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")  # two letters at least: C:\data is a path
_SIGNED = frozenset(
    ("sig", "x-amz-signature", "x-amz-credential", "x-goog-signature", "awsaccesskeyid", "signature", "token")
)
_ALIASES = {"s3a": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs", "https": "http", "local": "file"}
_WRAPPERS = frozenset(
    ("blockcache", "cached", "data", "dir", "filecache", "generic", "github", "git", "jupyter", "libarchive")
) | frozenset(("reference", "simplecache", "tar", "zip"))


@dataclass(frozen=True)
class Store:
    """What reaching a kind of store needs.

    Attributes:
        extra: of Maskline, that brings the driver.
        package: the driver itself.
        variables: environment variables that credentials are read from, in words.
        options: given to fsspec beside what the environment says.
    """

    extra: str
    package: str
    variables: str
    options: Mapping[str, Any] = field(default_factory=dict)


STORES: Mapping[str, Store] = {
    "s3": Store(
        "s3",
        "s3fs",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE, or the pod's role); "
        "AWS_ENDPOINT_URL for other stores than Amazon's",
        # One place tries again (maskline.faults); several inside one another would go on for minutes.
        {"config_kwargs": {"retries": {"total_max_attempts": 1, "mode": "standard"}}},
    ),
    "gs": Store("gcs", "gcsfs", "GOOGLE_APPLICATION_CREDENTIALS (or the pod's workload identity)"),
    "abfs": Store(
        "azure",
        "adlfs",
        "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN "
        "(or AZURE_STORAGE_CONNECTION_STRING)",
    ),
    "http": Store(
        "http",
        "aiohttp",
        "NETRC, the file that names user and password of the host",
        {"client_kwargs": {"trust_env": True}},  # proxies and NETRC
    ),
}
"""By scheme; `s3a`, `gcs`, `az`, `abfss` and `https` are looked up as their kin."""


def is_uri(place: str) -> bool:
    """Whether a place is written as a URI."""
    return _URI.match(place) is not None


def scheme_of(place: str) -> str:
    """The scheme of a URI as STORES knows it; `file` for a local path."""
    match = _URI.match(place)
    scheme = match[1].lower() if match else "file"
    return _ALIASES.get(scheme, scheme)


def local_path(place: str) -> Path | None:
    """The path of a place on this machine; None for other URIs."""
    if not is_uri(place):
        return Path(place)
    if scheme_of(place) != "file":
        return None
    # A path may hold # and ?, which split nothing in a file's URI.
    parts = urlsplit(place.replace("#", "%23").replace("?", "%3F"))
    return Path(url2pathname(parts.path))


def without_secrets(place: str) -> str:
    """A URI that can be shown: user, password and query taken out."""
    if not is_uri(place):
        return place
    try:
        parts = urlsplit(place)
    except ValueError:
        return f"{scheme_of(place)}://…"
    host = parts.netloc.rpartition("@")[2]
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    kept = f"{user}@" if user and not password and scheme_of(place) != "http" else ""
    return f"{parts.scheme}://{kept}{host}{parts.path}"


def problem(place: str) -> str | None:
    """Why a URI can't be used as it is written; None if it can, or is a local path."""
    if not is_uri(place):
        return None
    shown, scheme = without_secrets(place), scheme_of(place)
    store = STORES.get(scheme)
    variables = store.variables if store else "what its driver reads from the environment"
    try:
        parts = urlsplit(place)
    except ValueError as error:
        return f"{shown} is no URI: {error}"
    user, separator, _ = parts.netloc.rpartition("@")[0].partition(":")
    # abfs://CONTAINER@ACCOUNT… and sftp://USER@HOST/… tell no secret.
    if separator or (user and scheme in ("http", "s3", "gs")):
        return f"{shown} was given with user or password, which a job must not hold; set {variables}"
    if scheme != "file" and any(key.lower() in _SIGNED for key, _ in parse_qsl(parts.query)):
        return f"{shown} was given with a signature or token, which a job must not hold; set {variables}"
    if scheme in _WRAPPERS or (scheme != "file" and "::" in place):
        return f"{shown} chains file systems; name the folder, file or archive itself"
    if scheme not in ("file", "memory") and not parts.netloc:
        return f"{shown} names no {'host' if scheme == 'http' else 'bucket'}; write {parts.scheme}://NAME/…"
    return None
