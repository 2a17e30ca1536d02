"""The part of a cluster file that says where pods run and what they get there."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from maskline.rules import Part, show
from maskline.settings import Count

GPU = "nvidia.com/gpu"


def matches(pattern: str, remedy: str) -> AfterValidator:
    """Refuses a text that a pattern doesn't match in full."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"is not legal; {remedy}")
        return value

    return AfterValidator(check)


def _as_text(value: Any) -> Any:
    """Numbers in YAML are texts to Kubernetes: `cpu: 4`."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _texts(value: Any) -> Any:
    return {str(k): _as_text(v) for k, v in value.items()} if isinstance(value, dict) else value


_LABEL_KEY = r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?"
_LABEL_VALUE = r"([A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?)?"


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        if not re.fullmatch(_LABEL_KEY, key) or not re.fullmatch(_LABEL_VALUE, text):
            raise ValueError(
                f"holds {key}={show(text)}, which is no label; use at most 63 of A-Z, a-z, 0-9, -_."
            )
    return value


Cpu = Annotated[
    str,
    BeforeValidator(_as_text),
    matches(r"[1-9]\d*m?|\d+\.\d+", "give processors such as 4, or thousandths such as 500m"),
]
Memory = Annotated[
    str,
    BeforeValidator(_as_text),
    matches(r"[1-9]\d*([KMGTPE]i?)", "give a whole number with Ki, Mi, Gi or Ti, such as 16Gi"),
]
Name = Annotated[
    str,
    matches(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "give at most 63 lower-case letters, digits and hyphens"),
]
Variable = Annotated[str, matches(r"[A-Za-z_]\w*", "name it with letters, digits and _, and no digit first")]
Folder = Annotated[
    str, matches(r"/[^:]*[^:/]", "give an absolute path in the container, such as /maskline/runs")
]
Labels = Annotated[dict[str, str], BeforeValidator(_texts), AfterValidator(_labels)]
Texts = Annotated[dict[str, str], BeforeValidator(_texts)]


class Toleration(Part):
    """A taint that pods may be scheduled against."""

    key: str | None = None
    """Key of the taint; left out, all."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """How the value is compared."""
    value: Annotated[str, BeforeValidator(_as_text)] | None = None
    """Value of the taint."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; left out, all."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """How long a NoExecute taint is borne."""

    @model_validator(mode="after")
    def _sound(self) -> "Toleration":
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value; remove value, or write operator: Equal")
        if self.operator == "Equal" and not self.key:
            raise ValueError("operator Equal needs a key; give one, or write operator: Exists")
        return self

    def manifest(self) -> dict[str, Any]:
        """As Kubernetes writes it."""
        found = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        seconds = {"tolerationSeconds": self.toleration_seconds}
        return {name: value for name, value in {**found, **seconds}.items() if value is not None}


class NodeRequirement(Part):
    """What a node's label must be."""

    key: str
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"] = "In"
    """How its value is compared."""
    values: list[Annotated[str, BeforeValidator(_as_text)]] = []
    """Values to compare with."""

    @model_validator(mode="after")
    def _sound(self) -> "NodeRequirement":
        wanted = {"Exists": 0, "DoesNotExist": 0, "Gt": 1, "Lt": 1}.get(self.operator)
        if wanted is None and not self.values:
            raise ValueError(f"operator {self.operator} needs values; give at least one")
        if wanted is not None and len(self.values) != wanted:
            raise ValueError(f"operator {self.operator} takes {wanted} values; correct values")
        return self


class Pool(Part):
    """Nodes, and how pods get there."""

    node_selector: Labels = {}
    """Labels of its nodes."""
    tolerations: list[Toleration] = []
    """Taints of its nodes that are borne."""
    node_affinity: list[NodeRequirement] = []
    """Further requirements of the nodes; all must hold."""
    queue: Name | None = None
    """Kueue's local queue."""
    priority: Name | None = None
    """Kueue's workload priority class."""
    labels: Labels = {}
    """Labels of the pods, for cost reports and the like."""
    annotations: Texts = {}
    """Annotations of the pods."""

    @model_validator(mode="after")
    def _queued(self) -> "Pool":
        if self.priority and not self.queue:
            raise ValueError(
                f"priority={self.priority} is a class of Kueue's; give its queue too, or remove it"
            )
        return self


class CpuPool(Pool):
    """Where stages without an accelerator run. They are kept off the nodes of every compute that has one."""

    cpu: Cpu = "1"
    """Processors that a stage asks for."""
    memory: Memory | None = None
    """Memory of a stage; left out, 2Gi, and 8Gi for the ONNX file."""


class Machine(Part):
    """What `resources.instance_type` names: in it stands only what differs from the compute."""

    accelerator_count: Count | None = None
    """Accelerators of a trial."""
    cpu: Cpu | None = None
    """Processors of a trial."""
    memory: Memory | None = None
    """Memory of a trial."""
    shared_memory: Memory | None = None
    """Size of /dev/shm."""
    node_selector: Labels | None = None
    """Labels of its nodes."""


class Compute(Pool):
    """What `compute` names: where trials and evaluation run, and what a pod gets there."""

    accelerator: Annotated[str, matches(r"[a-z0-9.-]+/[-\w.]+", f"give a resource such as {GPU}")] | None = (
        None
    )
    """Kind of accelerator, as the node's device plug-in calls it; left out, trials run on processors."""
    accelerator_count: Count = 1
    """Accelerators of a trial."""
    cpu: Cpu = "4"
    """Processors of a trial."""
    memory: Memory = "16Gi"
    """Memory of a trial; a pod that needs more is killed."""
    shared_memory: Memory = "8Gi"
    """Size of /dev/shm, through which loader processes hand over pictures; counts as memory."""
    instance_types: dict[str, Machine] = {}
    """Kinds of machine by the names that jobs use in `resources.instance_type`."""
    priorities: dict[Literal["low", "medium", "high"], Name] = {}
    """Kueue's workload priority classes for `queue_settings.priority`."""

    @model_validator(mode="after")
    def _kept_apart(self) -> "Compute":
        if self.accelerator and self.accelerator != GPU and not self.node_selector:
            raise ValueError(
                f"accelerator={self.accelerator} needs node_selector: give labels of its nodes, so that "
                "stages without an accelerator can be kept off them"
            )
        if self.accelerator is None and "accelerator_count" in self.model_fields_set:
            raise ValueError(f"accelerator_count needs accelerator; write accelerator: {GPU}, or remove it")
        if self.priorities and not self.queue:
            raise ValueError("priorities are classes of Kueue's; give its queue too, or remove them")
        return self
