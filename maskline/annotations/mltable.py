"""The `MLTable` file of Azure ML: which JSON Lines files a folder holds, and how to read them."""

import codecs
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from maskline.errors import DataError

from .locations import visible
from .shapes import short

MLTABLE = "MLTable"
_LARGEST = 256 << 10


@dataclass(frozen=True)
class MLTable:
    """What an `MLTable` file says.

    Attributes:
        files: the JSON Lines files, in its order.
        encoding: of the files.
        strict: `invalid_lines: error`, so that one line that is no JSON fails the reading.
    """

    files: tuple[Path, ...]
    encoding: str = "utf-8"
    strict: bool = False


def read_mltable(file: Path) -> MLTable:
    """Read an `MLTable` file.

    `paths` may hold `file`, `pattern` and `folder` entries (of a folder, its *.jsonl files), all below the
    folder of the `MLTable` file. The transformations `read_json_lines` (`encoding`, `invalid_lines`,
    `include_path_column`) and `convert_column_types` to `stream_info` are understood; any other would
    change the data, and is refused.

    Raises:
        DataError: the file isn't as described above; all problems at once, one a line.
    """
    data = load_yaml(file)
    problems: list[str] = []
    files: list[Path] = []
    entries = data.get("paths")
    if not isinstance(entries, list) or not entries:
        problems.append(f"{file}: paths={short(entries)} must list the data, like - file: ./train.jsonl")
        entries = []
    for entry in entries:
        files += _files(file, entry, problems)
    options = _options(file, data.get("transformations"), problems)
    if problems:
        raise DataError("\n".join(problems))
    return MLTable(tuple(dict.fromkeys(files)), **options)


def load_yaml(file: Path) -> dict[str, Any]:
    """A small YAML mapping from outside.

    Raises:
        DataError: the file is large, uses aliases, or is no mapping.
    """
    try:
        if file.stat().st_size > _LARGEST:
            raise DataError(f"{file} is larger than {_LARGEST} bytes; such a file is a few lines of YAML")
        text = file.read_bytes()
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise DataError(f"{file} uses YAML aliases (*name), which can grow without bound; write it out")
        data = yaml.safe_load(text)
    except (OSError, yaml.YAMLError, ValueError, RecursionError) as error:
        raise DataError(f"{file} can't be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise DataError(f"{file} must be a YAML mapping")
    return data


def _files(file: Path, entry: Any, problems: list[str]) -> list[Path]:
    kind, value = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else ("", None)
    if kind not in ("file", "pattern", "folder") or not isinstance(value, str):
        problems.append(f"{file}: paths has {short(entry)}; an entry is one of file, pattern, folder: path")
        return []
    if "://" in value or value.startswith(("/", "azureml:")) or ".." in Path(value).parts:
        problems.append(f"{file}: {kind}={value!r} must be a relative path below {file.parent}")
        return []
    path = file.parent / value
    if kind == "file":
        found = [path] if path.is_file() else []
    else:
        pattern = str(Path(value) / "*.jsonl") if kind == "folder" else value
        found = visible((p for p in file.parent.glob(pattern) if p.is_file()), file.parent)
    if not found:
        problems.append(f"{file}: {kind}={value!r} names no file below {file.parent}")
    return found


def _options(file: Path, steps: Any, problems: list[str]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    names = []
    for step in steps if isinstance(steps, list) else []:
        name, value = next(iter(step.items())) if isinstance(step, dict) and len(step) == 1 else (step, None)
        names.append(name)
        if name == "read_json_lines":
            options = _json_lines(file, value or {}, problems)
        elif name == "convert_column_types":
            _check_columns(file, value, problems)
        else:
            problems.append(
                f"{file}: transformation {short(name)} is not supported; "
                "use read_json_lines and convert_column_types, and change the data beforehand"
            )
    if "read_json_lines" not in names:
        problems.append(f"{file}: transformations must hold read_json_lines")
    return options


def _json_lines(file: Path, value: Any, problems: list[str]) -> dict[str, Any]:
    known = {"encoding", "invalid_lines", "include_path_column", "partition_size"}
    if not isinstance(value, dict) or not set(value) <= known:
        problems.append(f"{file}: read_json_lines={short(value)} knows {', '.join(sorted(known))} only")
        return {}
    encoding, lines = value.get("encoding", "utf8"), value.get("invalid_lines", "drop")
    try:
        codecs.lookup(str(encoding))
    except LookupError:
        problems.append(f"{file}: encoding={encoding!r} is unknown; use utf8")
    if lines not in ("error", "drop"):
        problems.append(f"{file}: invalid_lines={lines!r} must be error or drop")
    return {"encoding": str(encoding), "strict": lines == "error"}


def _check_columns(file: Path, value: Any, problems: list[str]) -> None:
    for item in value if isinstance(value, list) else [value]:
        kind = item.get("column_type") if isinstance(item, dict) else None
        if kind != "stream_info":
            what = f"convert_column_types={short(item)} is not supported; only stream_info is"
            problems.append(f"{file}: {what}")
