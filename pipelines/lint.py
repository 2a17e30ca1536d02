"""Shapes of a compiled pipeline that KFP accepts and then gets wrong, found before anything runs.

Each rule stands for something that was seen: data replaced in silence, a run that fails at its end, a
pipeline that runs in the cluster and not locally.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

LARGEST_PARAMETER = 100_000
"""Bytes; kfp.local hands parameters to a process as one argument, which Linux limits to 128 KiB."""

Spec = Mapping[str, Any]


def lint(ir: Spec) -> list[str]:
    """Findings on a compiled pipeline (the first document of its YAML), one line each; empty if clean."""
    return [*_parameters(ir), *(finding for dag in _dags(ir) for finding in _tasks(ir, *dag))]


def _dags(ir: Spec) -> Iterator[tuple[str, Spec]]:
    yield "root", ir["root"]["dag"]
    for name, component in ir.get("components", {}).items():
        if "dag" in component:
            yield name, component["dag"]


def _parameters(ir: Spec) -> Iterator[str]:
    parameters = ir["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, definition in parameters.items():
        if definition.get("isOptional") and "defaultValue" not in definition:
            yield f"parameter {name} defaults to None, which kfp.local refuses; give it a default value"
        yield from lint_value(name, definition.get("defaultValue", ""))


def lint_value(name: str, value: Any) -> Iterator[str]:
    """Findings on the value of a pipeline's parameter."""
    text = value if isinstance(value, str) else json.dumps(value)
    if "{{" in text:
        yield f"parameter {name} holds {{{{, which KFP takes for a placeholder of its own; leave it out"
    size = len(text.encode())
    if size > LARGEST_PARAMETER:
        yield f"parameter {name} has {size} bytes, more than {LARGEST_PARAMETER}; shorten it"


def _tasks(ir: Spec, dag_name: str, dag: Spec) -> Iterator[str]:
    for output, source in dag.get("outputs", {}).get("artifacts", {}).items():
        if len(source.get("artifactSelectors", [])) > 1:
            yield f"{dag_name}: output {output} is one of several artifacts, which kfp.local can't resolve"
    declared = _declared(ir, dag_name)
    for name, task in dag["tasks"].items():
        for value in task.get("inputs", {}).get("parameters", {}).values():
            if (wanted := value.get("componentInputParameter")) and wanted not in declared:
                yield f"{dag_name}/{name}: takes {wanted}, which nobody hands to it; make it a constant"
        place = f"{dag_name}/{name}"
        if task.get("cachingOptions", {}).get("enableCache") and task.get("inputs", {}).get("artifacts"):
            # A name that only MLMD makes unique: https://github.com/kubeflow/pipelines/pull/12751
            yield f"{place}: is cached by the name of an artifact, whatever is in it; turn caching off"
        if "artifactIterator" in task:
            yield f"{place}: loops over artifacts, which KFP's backend doesn't implement"
        if "parameterIterator" in task:
            yield from _loop(ir, place, task)
        if "exit-handler" in name and _holds_loop(ir, task):
            yield f"{place}: a loop inside an exit handler fails on KFP's backend"


def _declared(ir: Spec, dag_name: str) -> set[str]:
    """Parameters that a DAG may use: its own inputs and, in a loop, the item."""
    component = ir["root"] if dag_name == "root" else ir["components"][dag_name]
    return set(component.get("inputDefinitions", {}).get("parameters", {}))


def _loop(ir: Spec, place: str, task: Spec) -> Iterator[str]:
    iterator = task["parameterIterator"]
    source = iterator["items"].get("inputParameter")
    for name, value in task.get("inputs", {}).get("parameters", {}).items():
        if "taskOutputParameter" in value and name != source:
            yield (
                f"{place}: takes the parameter {name} from another task, which kfp.local replaces by the "
                "loop's item; hand over a pipeline parameter or an artifact"
            )
    body = ir["components"][task["componentRef"]["name"]]
    consumed = False
    for name, inner in body["dag"]["tasks"].items():
        inputs = inner.get("inputs", {}).get("parameters", {}).values()
        consumed |= any(value.get("componentInputParameter") == iterator["itemInput"] for value in inputs)
        if "parameterIterator" in inner:
            yield f"{place}/{name}: a loop inside a loop, which kfp.local can't resolve"
        if inner.get("cachingOptions", {}).get("enableCache"):
            yield f"{place}/{name}: is cached, so that a slot may be skipped; turn caching off"
        if "retryPolicy" in inner:
            yield f"{place}/{name}: has retries, which KFP's backend drops inside loops"
    if not consumed:
        yield f"{place}: doesn't use the loop's item, and so may run before what it waits for"


def _holds_loop(ir: Spec, task: Spec) -> bool:
    component = ir["components"].get(task["componentRef"]["name"], {})
    return any("parameterIterator" in inner for inner in component.get("dag", {}).get("tasks", {}).values())
