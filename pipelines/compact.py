"""A compiled pipeline without what the images carry anyway.

KFP writes the text of a component into the pipeline, its documentation twice, and a loop's items one by one.
What is left is a third of it, reads like a table, and doesn't change with a comment.
"""

import json
import math
from collections.abc import Iterable
from typing import Any, TextIO

import yaml

COMMAND = ["python3", "-m", "maskline.components", "kfp.dsl.executor_main"]
"""What runs a stage in its image; see `maskline.components.__main__`."""
ENTRIES = ("components", "executors", "tasks")
"""Mappings whose entries stand on a line each."""


def shorten(ir: dict[str, Any]) -> None:
    """Leave out of a pipeline's specification what its images know. Changed in place."""
    for executor in ir["deploymentSpec"]["executors"].values():
        executor["container"]["command"] = list(COMMAND)
    for component in ir["components"].values():
        for definitions in (component.get("inputDefinitions", {}), component.get("outputDefinitions", {})):
            for kind in definitions.values():
                for definition in kind.values():
                    definition.pop("description", None)
        for task in component.get("dag", {}).get("tasks", {}).values():
            _shorten_items(task)
    for task in ir["root"]["dag"]["tasks"].values():
        _shorten_items(task)


def _shorten_items(task: dict[str, Any]) -> None:
    items = task.get("parameterIterator", {}).get("items", {})
    if "raw" in items:
        items["raw"] = json.dumps(json.loads(items["raw"]), separators=(",", ":"))


def write(documents: Iterable[Any], stream: TextIO) -> None:
    """Write YAML in which a component, an executor or a task is one line."""
    dumper = yaml.SafeDumper(stream, sort_keys=False, width=math.inf, allow_unicode=True)
    dumper.open()
    for document in documents:
        node = dumper.represent_data(document)
        _lay_out(node)
        dumper.serialize(node)
    dumper.close()


def _lay_out(node: yaml.Node, flow: bool = False) -> None:
    """Which mappings and lists stand on one line."""
    if isinstance(node, yaml.MappingNode):
        node.flow_style = flow or not any(isinstance(value, yaml.CollectionNode) for _, value in node.value)
        for key, value in node.value:
            for _, entry in (
                value.value if key.value in ENTRIES and isinstance(value, yaml.MappingNode) else ()
            ):
                _lay_out(entry, flow=True)
            if key.value not in ENTRIES:
                _lay_out(value, flow)
    elif isinstance(node, yaml.SequenceNode):
        node.flow_style = flow or not any(isinstance(value, yaml.CollectionNode) for value in node.value)
        for value in node.value:
            _lay_out(value, flow)
