"""Which nodes a compute's pods can run on, by Kubernetes' rules."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..computes import Compute, NodeRequirement


def why_not(node: Any, compute: Compute) -> str:
    """Why a node can't take a trial of a compute; empty if it can, as far as its size goes.

    Args:
        node: Kubernetes' V1Node.
        compute: what the trial asks for.
    """
    from kubernetes.utils import parse_quantity

    labels = node.metadata.labels or {}
    for key, value in compute.node_selector.items():
        if labels.get(key) != value:
            return f"its label {key} is {labels.get(key)}, not {value}"
    for need in compute.node_affinity:
        if not meets(labels, need):
            return f"its label {need.key} doesn't meet {need.operator} {', '.join(need.values)}".rstrip()
    for taint in node.spec.taints or ():
        if taint.effect != "PreferNoSchedule" and not tolerated(taint, compute):
            return f"its taint {taint.key}={taint.value or ''}:{taint.effect} is not tolerated"
    asked = {"cpu": compute.cpu, "memory": compute.memory}
    if compute.accelerator:
        asked[compute.accelerator] = str(compute.accelerator_count)
    allocatable = node.status.allocatable or {}
    for resource, amount in asked.items():
        if parse_quantity(allocatable.get(resource, "0")) < parse_quantity(amount):
            return f"it has {allocatable.get(resource, '0')} {resource}, and {amount} are asked for"
    return ""


def labelled(nodes: Iterable[Any], compute: Compute) -> list[Any]:
    """Nodes with the labels that a compute asks for, whatever their size and taints."""
    return [
        node
        for node in nodes
        if all((node.metadata.labels or {}).get(k) == v for k, v in compute.node_selector.items())
        and all(meets(node.metadata.labels or {}, need) for need in compute.node_affinity)
    ]


def meets(labels: Mapping[str, str], need: NodeRequirement) -> bool:
    """Whether a node's labels meet a requirement."""
    value = labels.get(need.key)
    if need.operator in ("Exists", "DoesNotExist"):
        return (value is not None) == (need.operator == "Exists")
    if need.operator in ("In", "NotIn"):
        return (value in need.values) == (need.operator == "In")
    if value is None or not value.isdigit() or not need.values[0].isdigit():
        return False
    return int(value) > int(need.values[0]) if need.operator == "Gt" else int(value) < int(need.values[0])


def tolerated(taint: Any, compute: Compute) -> bool:
    """Whether a compute's pods bear a taint."""
    for toleration in compute.tolerations:
        if toleration.effect not in (None, taint.effect):
            continue
        if toleration.key in (None, taint.key) and (
            toleration.operator == "Exists" or (toleration.value or "") == (taint.value or "")
        ):
            return True
    return False
