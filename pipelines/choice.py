"""Which of a cluster file's computes a job means, and what it changes of it."""

import re
from typing import Any

from maskline.errors import JobError
from maskline.job import ImageInstanceSegmentationJob
from maskline.rules import nearest_name

from .cluster_file import Cluster
from .computes import Compute, Machine


def choose_compute(job: ImageInstanceSegmentationJob, cluster: Cluster | None) -> Compute:
    """The compute of a job, with all that the job says of it.

    `compute`, with or without Azure's `azureml:`, names one of the cluster file's computes;
    `resources.instance_type` one of its machines (of a list, the first that is known), `shm_size` the size
    of /dev/shm in Docker's notation, and `queue_settings.priority` one of its priorities.

    Args:
        job: a job.
        cluster: the cluster file; None for the defaults, which are those of every compute that a job names.

    Raises:
        JobError: the job asks for what the cluster doesn't have; with every reason.
    """
    known = cluster or Cluster()
    problems: list[str] = []
    compute = _compute(job, known, named=cluster is not None, problems=problems)
    if cluster is not None:
        compute = _sized(job, compute, problems)
    if problems:
        raise JobError(problems)
    return compute


def _compute(
    job: ImageInstanceSegmentationJob, cluster: Cluster, named: bool, problems: list[str]
) -> Compute:
    computes = cluster.computes
    first = next(iter(computes))
    if not named:
        return computes[first]
    wanted = (job.compute or "").removeprefix("azureml:")
    chosen = wanted or cluster.default_compute or (first if len(computes) == 1 else "")
    if not chosen:
        problems.append(f"compute is missing and the cluster has several; name one of {', '.join(computes)}")
    elif chosen not in computes:
        problems.append(
            f"compute={job.compute} is none of the cluster file's; {nearest_name(chosen, computes)}"
        )
    return computes.get(chosen, computes[first])


def _sized(job: ImageInstanceSegmentationJob, compute: Compute, problems: list[str]) -> Compute:
    """A compute with what the job says of machine, shared memory and priority."""
    changes: dict[str, Any] = {}
    resources, queue = job.resources, job.queue_settings
    if resources and resources.instance_type:
        machine = _machine(resources.instance_type, compute, problems)
        changes |= machine.model_dump(exclude_unset=True, exclude_none=True)
    if resources and resources.shm_size:
        if size := _docker_size(resources.shm_size):
            changes["shared_memory"] = size
        else:
            problems.append(f"resources.shm_size={resources.shm_size} is no size; write 2g or 512m")
    if queue and queue.priority:
        if priority := compute.priorities.get(queue.priority.value):
            changes["priority"] = priority
        else:
            problems.append(
                f"queue_settings.priority={queue.priority.value} is none of the compute's priorities; give "
                "its compute in the cluster file priorities: {"
                + queue.priority.value
                + ": CLASS}, or remove it"
            )
    if changes.get("accelerator_count") and not compute.accelerator:
        problems.append("the machine of resources.instance_type has accelerators, and its compute names none")
        return compute
    return Compute(**{**compute.model_dump(exclude_unset=True), **changes})


def _machine(asked: str | list[str], compute: Compute, problems: list[str]) -> Machine:
    kinds = [asked] if isinstance(asked, str) else asked
    for kind in kinds:
        if kind in compute.instance_types:
            return compute.instance_types[kind]
    legal = ", ".join(compute.instance_types) or "none: give the compute instance_types, or remove it"
    problems.append(
        f"resources.instance_type={', '.join(kinds)} is no machine of the compute; legal are {legal}"
    )
    return Machine()


def _docker_size(text: str) -> str | None:
    """Docker's `2g` as Kubernetes' `2Gi`; Docker's units are powers of 1024."""
    found = re.fullmatch(r"(\d+)([bkmgt]?)i?b?", text.strip().lower())
    if found is None or int(found[1]) == 0:
        return None
    unit = found[2]
    if unit in ("", "b"):
        return f"{max(1, int(found[1]) // 1024)}Ki"
    return f"{found[1]}{unit.upper()}i"
