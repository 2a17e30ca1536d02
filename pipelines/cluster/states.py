"""Where a run is, in Azure's words, from what Kubeflow Pipelines and Kubernetes say.

Starting        KFP has the run, and no pod of it is there yet
Provisioning    a pod waits for a node that the autoscaler is making
Queued          a pod waits: nothing can be scheduled, or Kueue holds it back
Preparing       a pod has a node, and pulls its image or starts
Running         a stage works
Finalizing      the sweep is over: selection, evaluation or export work
NotResponding   a pod's node has gone silent, or no trial has given a sign of life for STALE_SECONDS
CancelRequested, Canceled, Completed, Failed, Paused, Unknown    as KFP says

The most advanced pod decides: a run with one trial at work and three that wait is Running.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

STALE_SECONDS = 300.0
"""Silence after which a trial counts as lost; a trial gives a sign of life every half minute."""
TERMINAL = ("Completed", "Failed", "Canceled")
_BY_KFP = {
    "SUCCEEDED": "Completed",
    "SKIPPED": "Completed",
    "FAILED": "Failed",
    "CANCELED": "Canceled",
    "CANCELING": "CancelRequested",
    "PAUSED": "Paused",
}
_LATE_STAGES = ("trial_selection", "evaluation", "onnx_export")
_SCALING = ("TriggeredScaleUp", "Nominated", "NominatedNode", "ProvisioningRequested")
"""Reasons of events by which cluster-autoscaler, Karpenter and Kueue say that a node is being made."""
_ORDER = ("Running", "Finalizing", "Preparing", "Provisioning", "Queued")
_REMEDIES = {
    "ErrImagePull": "is the image in the registry, and the pull secret right?",
    "ImagePullBackOff": "is the image in the registry, and the pull secret right?",
    "InvalidImageName": "correct images.registry or images.tag",
    "CreateContainerConfigError": "is each secret there, with its keys?",
    "OOMKilled": "give its compute more memory, or the job a smaller training_batch_size",
    "Evicted": "its node ran out of memory or disk; retry, and ask for what the stage needs",
    "Unschedulable": "no node has what it asks for; see the compute's node_selector, tolerations and sizes",
    "SchedulingGated": "Kueue holds it back until the queue has quota",
}


@dataclass(frozen=True)
class PodFacts:
    """What matters of a stage's pod.

    Attributes:
        name: of the pod.
        stage: of the pipeline, `sweep_trial`; empty for KFP's own pods (drivers).
        state: one of `Running`, `Preparing`, `Provisioning`, `Queued`, `Succeeded`, `Failed`, `Lost`.
        reason: why it is there, in Kubernetes' words: `ImagePullBackOff`, `Unschedulable`, `OOMKilled`.
        message: Kubernetes' sentence on it.
        created: when it was made.
    """

    name: str
    stage: str
    state: str
    reason: str = ""
    message: str = ""
    created: datetime | None = None

    @property
    def trouble(self) -> str:
        """What is wrong with it and what to do, in one line; empty if nothing is."""
        if self.reason not in _REMEDIES:
            return ""
        message = f" ({' '.join(self.message.split())[:160]})" if self.message else ""
        return (
            f"{self.stage or 'a driver'}, pod {self.name}: {self.reason}{message}; {_REMEDIES[self.reason]}"
        )


@dataclass(frozen=True)
class RunStatus:
    """Where a run is.

    Attributes:
        run_id: KFP's.
        name: shown name.
        state: one of Azure's.
        kfp_state: KFP's own word.
        stages: pods by stage and state: `{"sweep_trial": {"Running": 2}}`.
        troubles: what is wrong with pods, one line each.
        error: why the run failed, as KFP has it.
        created, finished: times.
        page: address in Kubeflow's pages.
        seen: whether Kubernetes could be asked; without it the state is KFP's alone.
    """

    run_id: str
    name: str
    state: str
    kfp_state: str
    stages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    troubles: Sequence[str] = ()
    error: str = ""
    created: datetime | None = None
    finished: datetime | None = None
    page: str = ""
    seen: bool = True


def pod_facts(pod: Any, events: Iterable[Any], stage: str, silent_nodes: Iterable[str] = ()) -> PodFacts:
    """What matters of a pod.

    Args:
        pod: Kubernetes' V1Pod.
        events: that concern the pod (CoreV1Event).
        stage: that the pod runs; empty for KFP's own pods.
        silent_nodes: names of nodes that are not ready.
    """
    status, name, created = pod.status, pod.metadata.name, pod.metadata.creation_timestamp
    state, reason, message = _pod_state(pod, status, {event.reason for event in events}, set(silent_nodes))
    return PodFacts(name, stage, state, reason, message or "", created)


def _pod_state(pod: Any, status: Any, events: set[str], silent: set[str]) -> tuple[str, str, str]:
    phase = status.phase or "Unknown"
    if phase == "Succeeded":
        return "Succeeded", "", ""
    if phase == "Failed":
        return "Failed", *_end(status)
    if phase == "Unknown" or (pod.spec.node_name in silent and phase == "Running"):
        return "Lost", "NodeLost", f"node {pod.spec.node_name} is not ready"
    containers = [*(status.init_container_statuses or ()), *(status.container_statuses or ())]
    waiting = [c.state.waiting for c in containers if c.state and c.state.waiting and c.state.waiting.reason]
    if phase == "Running":
        return "Running", "", ""
    scheduled = next((c for c in status.conditions or () if c.type == "PodScheduled"), None)
    if scheduled is not None and scheduled.status == "False":
        making = events & set(_SCALING)
        return (
            ("Provisioning" if making else "Queued"),
            scheduled.reason or "Unschedulable",
            scheduled.message,
        )
    worst = next((w for w in waiting if w.reason in _REMEDIES), waiting[0] if waiting else None)
    if worst is not None:
        return "Preparing", worst.reason, worst.message
    return ("Preparing" if pod.spec.node_name else "Queued"), "", ""


def _end(status: Any) -> tuple[str, str]:
    """Why a pod failed: the container's reason before the pod's."""
    for container in status.container_statuses or ():
        ended = container.state.terminated if container.state else None
        if ended is not None and ended.exit_code:
            return ended.reason or "Error", ended.message or f"exit code {ended.exit_code}"
    return status.reason or "Error", status.message or ""


def azure_state(kfp_state: str | None, pods: Sequence[PodFacts], silence: float | None = None) -> str:
    """The state of a run in Azure's words.

    Args:
        kfp_state: the run's, as KFP has it.
        pods: of the run.
        silence: seconds since the youngest sign of life of any running trial; None if unknown.
    """
    if kfp_state in _BY_KFP:
        return _BY_KFP[kfp_state]
    if kfp_state not in ("PENDING", "RUNNING", None, "", "RUNTIME_STATE_UNSPECIFIED"):
        return "Unknown"
    stages = [pod for pod in pods if pod.stage]
    training = any(pod.stage == "sweep_trial" and pod.state == "Running" for pod in stages)
    late = [pod for pod in stages if pod.stage in _LATE_STAGES]
    found = {pod.state for pod in (stages or pods)}
    if "Running" not in found and "Lost" in found:
        return "NotResponding"
    if training and silence is not None and silence > STALE_SECONDS:
        return "NotResponding"
    if late and not training:
        waiting = {pod.state for pod in late} & {"Preparing", "Provisioning", "Queued"}
        return "Finalizing" if not waiting or "Running" in found else _first(waiting)
    if state := _first(found):
        return state
    return "Running" if found else ("Starting" if kfp_state != "RUNNING" else "Running")


def _first(states: set[str]) -> str:
    return next((state for state in _ORDER if state in states), "")
