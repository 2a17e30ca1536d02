"""Data that a job reads, and where they lie: a path, a URI, or an asset of an Azure workspace."""

import os
import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from .addresses import STORES, is_uri, local_path, problem, scheme_of
from .errors import JobError
from .rules import Part
from .words import Word, word

AZURE = "azureml:"
DATASTORE = "azureml://datastores/"
"""What keys in a job's properties begin with that say where a datastore lies, followed by its name."""
_IN_DATASTORE = re.compile(
    r"azureml://(?:(?:subscriptions|resourcegroups|providers|workspaces)/[^/]+/(?:Microsoft\.[^/]+/)?)*"
    r"datastores/([^/]+)/paths/(.*)|AmlDatastore://([^/]+)/(.*)",
    re.IGNORECASE,
)
_ASSET = re.compile(r"azureml:(//.+|[^/\\.~:@][^/\\:@]*([:@])[^/\\:@]+)")


class DataType(Word):
    """How training, validation and test data are laid out; `uri_folder` and `uri_file` say: look and see."""

    MLTABLE = "mltable"
    URI_FOLDER = "uri_folder"
    URI_FILE = "uri_file"
    COCO = "coco"
    AZURE_JSONL = "azure_jsonl"
    PASCAL_VOC = "pascal_voc"
    INSTANCE_MASKS = "instance_masks"
    YOLO = "yolo"
    LABELME = "labelme"


class DataMode(Word):
    """How a cluster of Azure's brings data to a machine; Maskline reads every URI in its own way."""

    DIRECT = "direct"
    MOUNT = "mount"
    DOWNLOAD = "download"
    UPLOAD = "upload"
    RO_MOUNT = "ro_mount"
    RW_MOUNT = "rw_mount"
    EVAL_MOUNT = "eval_mount"
    EVAL_DOWNLOAD = "eval_download"


class ModelType(Word):
    """What an output is; image jobs know `mlflow_model`."""

    MLFLOW_MODEL = "mlflow_model"
    CUSTOM_MODEL = "custom_model"
    TRITON_MODEL = "triton_model"
    URI_FOLDER = "uri_folder"
    URI_FILE = "uri_file"
    MLTABLE = "mltable"


PathText = Annotated[str, BeforeValidator(lambda v: os.fspath(v) if isinstance(v, os.PathLike) else v)]


class Input(Part):
    """Data that a job reads."""

    type: Annotated[DataType, word(DataType)] = DataType.URI_FOLDER
    """How the data are laid out."""
    path: Annotated[PathText, Field(min_length=1)]
    """A path, relative to the job file's folder, or a URI; see `resolve`."""
    mode: Annotated[DataMode, word(DataMode)] | None = None
    """How Azure brings the data to a machine; Maskline doesn't need it."""
    description: str | None = None
    """What the data are, in words."""

    def __init__(
        self,
        *,
        type: str | None = None,
        path: str | os.PathLike[str] | None = None,
        mode: str | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__(type=type, path=path, mode=mode, **unknown)


class Output(Part):
    """Something that a job writes."""

    type: Annotated[ModelType, word(ModelType)] = ModelType.URI_FOLDER
    """What is written."""
    path: Annotated[PathText, Field(min_length=1)] | None = None
    """Where to."""
    mode: Annotated[DataMode, word(DataMode)] | None = None
    """How Azure carries it there."""
    name: str | None = None
    """Name under which Azure registers it."""
    version: str | None = None
    """Version under which Azure registers it."""
    description: str | None = None
    """What it is, in words."""


def in_datastore(path: str, properties: Mapping[str, str]) -> str:
    """A path in a datastore of Azure's, where the datastore really lies; any other path as it is.

    Args:
        path: `azureml://datastores/NAME/paths/PATH`, the long form of it that begins with
            `azureml://subscriptions/…`, `AmlDatastore://NAME/PATH`, or anything else.
        properties: the job's. `{"azureml://datastores/NAME": "s3://bucket/folder"}` says where NAME lies.

    Raises:
        JobError: the datastore isn't in `properties`.
    """
    match = _IN_DATASTORE.fullmatch(path)
    if match is None:
        return path
    name, inside = match[1] or match[3], match[2] or match[4] or ""
    known = {key.rstrip("/").lower(): value for key, value in properties.items()}
    place = known.get(f"{DATASTORE}{name}".lower())
    if place is None:
        raise JobError(
            f"path={path} is in the datastore {name} of an Azure workspace, which can't be looked up from "
            f'here; say where it lies, in the job: properties: {{"{DATASTORE}{name}": "s3://bucket/folder"}}'
        )
    return f"{place.rstrip('/')}/{inside}" if inside else place


def resolve(data: Input, base_path: str | Path, properties: Mapping[str, str] | None = None) -> str:
    """Where data lie: an absolute local path, or a URI as it was written.

    Args:
        data: `path` is a path, a URI (`s3://…`, `https://…`, `file://…`), `azureml:PATH` as Azure's dump
            writes local paths, a path in a datastore (see `in_datastore`), or another asset of an Azure
            workspace: `azureml:NAME:VERSION`, `azureml:NAME@LABEL`, `azureml://…`.
        base_path: folder that relative paths start from.
        properties: the job's properties. They say where assets and datastores lie:
            `{"azureml:my_train:3": "./data/train", "azureml://datastores/pictures": "s3://bucket/pictures"}`.

    Raises:
        JobError: an asset or datastore of an Azure workspace that isn't in `properties`.
    """
    known = properties or {}
    path = in_datastore(known.get(data.path, data.path), known)
    if _ASSET.fullmatch(path):
        raise JobError(
            f"path={path} is an asset of an Azure workspace, which can't be looked up from here; say where "
            f'the data lie, in the job: properties: {{"{data.path}": "./path/or/uri"}}'
        )
    return absolute(path.removeprefix(AZURE), base_path)


def absolute(path: str, base_path: str | Path) -> str:
    """A path as seen from a folder, `~` looked up; URIs stay as they are."""
    if is_uri(path):
        return path
    # os.path leaves a ~name that nobody has as it is, where pathlib raises.
    base = Path(os.path.expanduser(base_path)).absolute()
    return os.path.normpath(base / os.path.expanduser(path))


def data_problems(
    data: Input, base_path: str | Path, properties: Mapping[str, str], look: bool = True
) -> list[str]:
    """Why data can't be read, as far as that shows without reading them: one line, or none.

    Args:
        data: where the data are said to lie.
        base_path: folder that relative paths start from.
        properties: the job's properties, see `resolve`.
        look: whether to look if they are on this machine.
    """
    try:
        where = resolve(data, base_path, properties)
    except JobError as error:
        return list(error.problems)
    if found := problem(where):
        # The path itself may be the secret, so it isn't repeated.
        return [f"path can't be used: {found}"]
    path = local_path(where)
    if not look:
        return []
    if path is None:
        store = STORES.get(scheme_of(where))
        if store and find_spec(store.package) is None:
            return [
                f"path={data.path} can't be read here: {store.package} is not installed; "
                f"pip install 'maskline[{store.extra}]'"
            ]
        return []  # what lies elsewhere is looked at when the run begins
    if not os.path.exists(path):
        return [
            f"path={data.path} doesn't exist: there is no {path}; correct it (it is relative to {base_path})"
        ]
    if data.type == DataType.MLTABLE and path.is_dir() and not (path / "MLTable").exists():
        return [f"path={data.path} has no file MLTable, which makes a folder an mltable; give another type"]
    return []


def as_input(value: Any) -> Any:
    """A mapping stays a mapping; a bare path is refused with the way to write it."""
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        raise ValueError(f"is not an Input; write Input(type='mltable', path={text!r})")
    return value
