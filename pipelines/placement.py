"""Where a task runs in the cluster: a cluster file's words become those of KFP's Kubernetes platform."""

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from kfp import dsl, kubernetes

from .cluster_file import Cluster
from .computes import Compute, NodeRequirement, Pool

SHARED = "/dev/shm"  # noqa: S108  no temporary file: where Linux keeps shared memory
STUDY_VARIABLE = "MASKLINE_STUDY_URL"
"""Environment variable with the address of the studies' database, read from a secret."""
STAGE_LABEL = "app.kubernetes.io/component"
"""Label of a stage's pod with the stage's name."""
GPU_NODE_LABEL = "nvidia.com/gpu.present"
"""Label that NVIDIA's feature discovery gives to nodes with a GPU."""
UNDISTURBED = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Annotations that keep autoscalers from evicting a trial to save a node, as KFP repeats no such pod; a
compute's own win."""
STUDY_STAGES = ("sweep_trial", "trial_selection")
ACCELERATED_STAGES = ("sweep_trial", "evaluation")
MEMORY = {"onnx_export": "8Gi"}
"""Memory of stages without an accelerator, where 2Gi won't do."""


@dataclass(frozen=True)
class Placement:
    """Where the stages of one job run.

    Attributes:
        cluster: the cluster file.
        compute: what a trial's pod gets, with all that the job says of it.
        seconds: after which a trial's pod is ended by force.
    """

    cluster: Cluster
    compute: Compute
    seconds: int

    @property
    def volume(self) -> str | None:
        """The claim that run_root lies on; None for an object store."""
        found = self.cluster.run_volume
        return found.claim if found else None

    @property
    def tolerations(self) -> list[dict[str, Any]]:
        """Tolerations of a trial, as Kubernetes writes them."""
        return [toleration.manifest() for toleration in self.compute.tolerations]

    def image(self, name: str) -> str:
        """The image `light` or `trainer`."""
        images = self.cluster.images
        return f"{images.registry}/maskline-{name}:{images.tag}"

    def put(
        self,
        task: dsl.PipelineTask,
        environment: Mapping[str, str],
        run_volume: Any,
        node_selector: Any,
        tolerations: Any,
    ) -> dsl.PipelineTask:
        """Say of a task where it runs and what it gets.

        Args:
            task: of a stage; its name is the stage's.
            environment: the job's environment variables, which win over the cluster's.
            run_volume: the claim that run_root lies on; a pipeline's parameter, or None.
            node_selector: a pipeline's parameter: labels of the nodes of tasks with an accelerator.
            tolerations: a pipeline's parameter: taints that these tasks bear.
        """
        stage = re.sub(r"-\d+$", "", task.name).replace("-", "_")
        light = "maskline-light:" in task.container_spec.image
        task.set_container_image(self.image("light" if light else "trainer"))
        self._mount(task, stage, run_volume)
        for name, value in {**self.cluster.environment, **environment}.items():
            task.set_env_variable(name, value)
        if (
            stage == "sweep_trial"
        ):  # ends by itself, long before; else a hanging pod would hold its node for ever
            kubernetes.set_timeout(task, self.seconds)
            for key, value in UNDISTURBED.items():
                kubernetes.add_pod_annotation(task, key, value)
        if stage in ACCELERATED_STAGES:
            self._on_compute(task, stage, node_selector, tolerations)
        else:
            self._on_processors(task, stage)
        kubernetes.set_security_context(task, run_as_non_root=True)
        return task

    def _mount(self, task: dsl.PipelineTask, stage: str, run_volume: Any) -> None:
        """Volumes, secrets and what is needed to pull the image."""
        cluster = self.cluster
        for volume in cluster.volumes:
            claim = run_volume if volume == cluster.run_volume else volume.claim
            kubernetes.mount_pvc(task, pvc_name=claim, mount_path=volume.path, sub_path=volume.sub_path)
        for secret in cluster.secrets:
            for variable, key in secret.env.items():
                kubernetes.use_secret_as_env(task, secret.name, {key: variable})
            if secret.path:
                kubernetes.use_secret_as_volume(task, secret.name, secret.path)
        if cluster.study and stage in STUDY_STAGES:
            kubernetes.use_secret_as_env(task, cluster.study.secret, {cluster.study.key: STUDY_VARIABLE})
        if cluster.images.pull_secrets:
            kubernetes.set_image_pull_secrets(task, cluster.images.pull_secrets)
        if cluster.images.pull_policy:
            kubernetes.set_image_pull_policy(task, cluster.images.pull_policy)
        kubernetes.add_pod_label(task, "app.kubernetes.io/name", "maskline")
        kubernetes.add_pod_label(task, "app.kubernetes.io/version", version("maskline"))
        kubernetes.add_pod_label(task, STAGE_LABEL, stage)

    def _on_compute(self, task: dsl.PipelineTask, stage: str, node_selector: Any, tolerations: Any) -> None:
        """A stage that trains or predicts.

        What it asks for is fixed when compiled: KFP 2.17 loses a pipeline parameter that only the resources
        of a task in a loop use.
        """
        compute = self.compute
        task.set_cpu_request(compute.cpu)
        task.set_memory_request(compute.memory).set_memory_limit(compute.memory)
        kubernetes.empty_dir_mount(
            task, "shared-memory", mount_path=SHARED, medium="Memory", size_limit=compute.shared_memory
        )
        if compute.accelerator:
            # One is all that evaluation can use.
            count = compute.accelerator_count if stage == "sweep_trial" else 1
            task.set_accelerator_type(compute.accelerator).set_accelerator_limit(count)
        kubernetes.add_node_selector_json(task, node_selector)
        kubernetes.add_toleration_json(task, tolerations)
        self._affine(task, compute, away=compute.accelerator is None)

    def _on_processors(self, task: dsl.PipelineTask, stage: str) -> None:
        """A stage that needs processors only, kept off the nodes with accelerators."""
        pool = self.cluster.cpu
        memory = pool.memory or MEMORY.get(stage, "2Gi")
        task.set_cpu_request(pool.cpu).set_memory_request(memory).set_memory_limit(memory)
        if pool.node_selector:
            kubernetes.add_node_selector_json(task, pool.node_selector)
        for toleration in pool.tolerations:
            kubernetes.add_toleration(task, **toleration.model_dump(exclude_none=True))
        self._affine(task, pool, away=True)

    def _affine(self, task: dsl.PipelineTask, pool: Pool, away: bool) -> None:
        """The pool's affinity and labels; with `away`, off the nodes with accelerators."""
        own = [_term(need) for need in pool.node_affinity]
        for term in off_accelerators(self.cluster) if away else [[]]:
            if own or term:
                kubernetes.add_node_affinity(task, [*own, *term])
        _label(task, pool)


def off_accelerators(cluster: Cluster) -> list[list[dict[str, Any]]]:
    """Node selector terms, of which one must hold, that no node of a compute with an accelerator meets.

    A node belongs to a compute when it has all labels of its node selector. So a node is none of its nodes
    when one label differs: one term for each choice of such a label in every compute.
    """
    if not any(compute.accelerator for compute in cluster.computes.values()):
        return [[]]
    selectors = {tuple(sorted(found.items())) for found in _accelerated(cluster)}
    terms = []
    for labels in itertools.product(*sorted(selectors)):
        away: dict[str, list[str]] = {GPU_NODE_LABEL: ["true"]}
        for key, value in labels:
            away[key] = sorted({*away.get(key, []), value})
        terms.append([{"key": key, "operator": "NotIn", "values": away[key]} for key in sorted(away)])
    return terms


def _accelerated(cluster: Cluster) -> list[dict[str, str]]:
    """Node selectors of all computes with an accelerator, and of their machines."""
    found = []
    for compute in cluster.computes.values():
        if compute.accelerator:
            own = [
                machine.node_selector for machine in compute.instance_types.values() if machine.node_selector
            ]
            found += [selector for selector in (compute.node_selector, *own) if selector]
    return found


def _term(need: NodeRequirement) -> dict[str, Any]:
    return {"key": need.key, "operator": need.operator, "values": need.values}


def _label(task: dsl.PipelineTask, pool: Pool) -> None:
    labels = dict(pool.labels)
    if pool.queue:
        labels["kueue.x-k8s.io/queue-name"] = pool.queue
    if pool.priority:
        labels["kueue.x-k8s.io/priority-class"] = pool.priority
    for key, value in labels.items():
        kubernetes.add_pod_label(task, key, value)
    for key, value in pool.annotations.items():
        kubernetes.add_pod_annotation(task, key, value)
