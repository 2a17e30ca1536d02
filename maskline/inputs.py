"""Data that a job reads, and where they lie: a path, a URI, or an asset of an Azure workspace."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from pydantic import BeforeValidator, Field

from .errors import JobError
from .rules import Part
from .words import Word, word

AZURE = "azureml:"
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: C:\data is a path
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


def resolve(data: Input, base_path: str | Path, properties: Mapping[str, str] | None = None) -> str:
    """Where data lie: an absolute local path, or a URI as it was written.

    Args:
        data: `path` is a path, a URI (`s3://…`, `https://…`, `file://…`), `azureml:PATH` as Azure's dump
            writes local paths, or an asset of an Azure workspace: `azureml:NAME:VERSION`,
            `azureml:NAME@LABEL`, `azureml://…`.
        base_path: folder that relative paths start from.
        properties: the job's properties. They say where assets lie: `{"azureml:my_train:3": "./data/train"}`.

    Raises:
        JobError: an asset of an Azure workspace that isn't in `properties`.
    """
    path = data.path
    if properties and path in properties:
        path = properties[path]
    if _ASSET.fullmatch(path):
        raise JobError(
            f"path={path} is an asset of an Azure workspace, which can't be looked up from here; say where "
            f'the data lie, in the job: properties: {{"{data.path}": "./path/or/uri"}}'
        )
    path = path.removeprefix(AZURE)
    if _URI.match(path):
        return path
    # os.path leaves a ~name that nobody has as it is, where pathlib raises.
    base = Path(os.path.expanduser(base_path)).absolute()
    return os.path.normpath(base / os.path.expanduser(path))


def local_path(where: str) -> Path | None:
    """The file or folder that `resolve` found, if it is on this machine; None for other URIs."""
    if not _URI.match(where):
        return Path(where)
    parts = urlsplit(where)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None


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
    path = local_path(where)
    if path is None:
        return [f"path={data.path} can't be read yet: data are read from local files; download them first"]
    if not look:
        return []
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
