"""A job's plain data as YAML text, and back.

What is read is YAML as people expect it: `yes`, `on`, dates, `022` and `1:30` are text (each field reads them
as it needs them; to YAML 1.1 the last two are 18 and 90), a key stands once, and a file is small. Azure's
schema is kept; `$schema` is for editors only.
"""

import io
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import IO, Any

import yaml

from .errors import JobError

MAX_BYTES = 256 * 1024
MAX_NODES = 50_000

Source = str | os.PathLike[str] | IO[str] | IO[bytes]


class _Loader(yaml.SafeLoader):
    """The safe loader, without dates, yes/no, octal and sexagesimal numbers, and with every key once."""

    yaml_implicit_resolvers = {
        first: [pair for pair in pairs if not pair[0].endswith((":timestamp", ":bool", ":int", ":float"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise JobError(f"line {line}: a key must be text")
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                raise JobError(f"line {line}: {key.value} is given twice; remove one of them")
            seen.add(key.value)
            if key.tag != "tag:yaml.org,2002:str":
                key.tag = "tag:yaml.org,2002:str"  # tags and properties may have any name
        return super().construct_mapping(node, deep)


# Each pattern takes a part of what PyYAML's own takes, so that _Dumper quotes all texts that it must.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("(true|True|TRUE|false|False|FALSE)$"), [*"tTfF"]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9]*)$"), [*"-+0123456789"]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"([-+]?([0-9]+\.[0-9]*([eE][-+][0-9]+)?|\.(inf|Inf|INF))|\.[0-9]+|\.(nan|NaN|NAN))$"),
    [*"-+0123456789."],
)


class _Dumper(yaml.SafeDumper):
    """The safe dumper, writing everything out, and odd characters in a way that reads back."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        # PyYAML folds U+0085 and U+2028 into line breaks unless they are escaped
        odd = not data.replace("\n", "").isprintable()
        return self.represent_scalar("tag:yaml.org,2002:str", data, style='"' if odd else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def to_yaml(data: dict[str, Any]) -> str:
    """Plain data as YAML text."""
    text: str = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    return text


def from_yaml(text: str | bytes, what: str = "job") -> dict[str, Any]:
    """The mapping that a YAML text holds.

    Args:
        text: YAML in UTF-8.
        what: the text describes, for errors.

    Raises:
        JobError: it isn't YAML, isn't a mapping, is too large, or gives a key twice.
    """
    if len(text) > MAX_BYTES:
        raise JobError(f"the {what} is larger than {MAX_BYTES // 1024} KiB; is this the right file?")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            hint = "; `maskline new` writes one to start from" if what == "job" else ""
            raise JobError(f"the {what} is empty{hint}")
        _size(node, {})
        found = loader.construct_document(node)
    except JobError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise JobError(f"{where}not YAML: {error.problem or error.context}; correct it") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise JobError(f"not YAML in UTF-8: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise JobError(f"the {what} is nested too deeply; is this the right file?") from None
    if not isinstance(found, dict):
        raise JobError(f"a {what} is a mapping of keys to values, and this is a {type(found).__name__}")
    return found


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Nodes below a node once aliases are written out; a few lines of aliases can stand for billions."""
    if id(node) in known:
        if known[id(node)] == 0:
            raise JobError(f"line {node.start_mark.line + 1}: an alias refers to itself; write the value out")
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    size = 1 + sum(_size(child, known) for child in children)
    if size > MAX_NODES:
        raise JobError(f"the job has more than {MAX_NODES} values; is this the right file?")
    known[id(node)] = size
    return size


def read_source(source: Source) -> tuple[str | bytes, Path]:
    """The text of a job, and the folder that its relative paths start from.

    Raises:
        JobError: there is no such file, or it can't be read.
    """
    if not isinstance(source, str | os.PathLike):
        return _read_stream(source)
    path = Path(source)
    if not path.exists():
        raise JobError(f"{path} doesn't exist; give the path of a job's YAML file")
    if path.is_dir():
        raise JobError(f"{path} is a folder; give the path of a job's YAML file in it")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1), path.absolute().parent
    except OSError as error:
        raise JobError(f"{path} can't be read: {error.strerror or error}") from error


def _read_stream(stream: IO[str] | IO[bytes]) -> tuple[str | bytes, Path]:
    if not hasattr(stream, "read"):
        raise JobError(f"a job is loaded from a path or a stream, not from a {type(stream).__name__}")
    try:
        text = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise JobError(f"the stream can't be read: {error}") from error
    name = getattr(stream, "name", None)
    if isinstance(name, str) and Path(name).is_file():
        return text, Path(name).absolute().parent
    return text, Path.cwd()


def write_dest(text: str, dest: str | os.PathLike[str] | IO[str] | IO[bytes]) -> None:
    """Write to a new file, or to a stream.

    Raises:
        FileExistsError: the file exists; nothing is ever overwritten.
        FileNotFoundError: its folder doesn't.
        OSError: the stream is closed or can't be written.
    """
    if not isinstance(dest, str | os.PathLike):
        _write_stream(text, dest)
        return
    path = Path(dest)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} doesn't exist; make the folder first")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise FileExistsError(f"{path} exists; remove it or choose another name") from None


def _write_stream(text: str, stream: IO[Any]) -> None:
    if not hasattr(stream, "write"):
        raise TypeError(f"dest={stream!r} is neither a path nor a stream; give one of them")
    binary = isinstance(stream, io.RawIOBase | io.BufferedIOBase) or "b" in str(getattr(stream, "mode", ""))
    try:
        stream.write(text.encode() if binary else text)
    except OSError as error:
        raise OSError(f"the stream can't be written: {error}; open it for writing") from error
    except ValueError as error:
        raise OSError(f"the stream can't be written: {error}; open it again") from error
