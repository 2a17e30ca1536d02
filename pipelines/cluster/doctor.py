"""Whether a cluster is ready: one line a check, each pass, fail or unknown, with the remedy."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from maskline.errors import ClusterError
from maskline.job import ImageInstanceSegmentationJob

from ..choice import choose_compute
from ..cluster_file import Cluster
from ..computes import Compute
from .connection import Connection
from .nodes import labelled, why_not
from .registry import published

OLDEST = (2, 15)
"""Kubeflow Pipelines that understands all that a compiled pipeline says of pods."""
RIGHTS = (
    ("list", "pods", "", True),
    ("get", "pods", "log", True),
    ("list", "events", "", False),
    ("get", "persistentvolumeclaims", "", False),
    ("get", "secrets", "", False),
)
"""Verb, resource, sub-resource, and whether commands fail without the right or only know less."""

Outcome = Literal["pass", "fail", "unknown"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes:
        check: what was looked at.
        outcome: `pass`, `fail` or `unknown`.
        said: what was found.
        remedy: what to do; empty for a pass.
        vital: whether nothing can be submitted where it fails.
    """

    check: str
    outcome: Outcome
    said: str
    remedy: str = ""
    vital: bool = False

    @property
    def line(self) -> str:
        """All of it but the outcome; what was found may name the check already."""
        found = self.said if self.said.startswith(self.check) else f"{self.check}: {self.said}"
        return f"{found}; {self.remedy}" if self.remedy else found


class Doctor:
    """Looks at a cluster.

    Args:
        connection: to the cluster.
        job: a job that is to run there; None to look at every compute.
        placing: the cluster file; None where there is none.
    """

    def __init__(
        self, connection: Connection, job: ImageInstanceSegmentationJob | None, placing: Cluster | None
    ) -> None:
        self.connection, self.job, self.placing = connection, job, placing
        self.cluster = connection.cluster
        self.namespace = connection.namespace

    def vital(self) -> Iterator[Finding]:
        """What a submission needs."""
        yield from self._kubeflow()
        yield self._version()
        yield from self._guarded("volume claims", self._claims)
        yield from self._guarded("secrets", self._secrets)
        yield from self._guarded("service account", self._account)

    def all(self) -> Iterator[Finding]:
        """Every check."""
        yield from self._kubeflow()
        yield self._version()
        yield from self._guarded("Kubernetes", self._kubernetes)
        yield from self._guarded("nodes", self._nodes)
        yield from self._guarded("volume claims", self._claims)
        yield from self._guarded("secrets", self._secrets)
        yield from self._guarded("service account", self._account)
        yield from self._images()
        yield from self._data()
        yield from self._run_root()
        yield from self._guarded("study database", self._database)

    def _guarded(self, check: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
        """Findings of a check; what this user may not ask is unknown."""
        try:
            yield from look()
        except ClusterError as error:
            said, _, remedy = str(error).partition("; ")
            yield Finding(check, "unknown", said, remedy)

    def _kubeflow(self) -> Iterator[Finding]:
        connection, kubeflow = self.connection, self.cluster.kubeflow
        try:
            health = connection.ask("its health", connection.health.healthz_service_get_healthz)
        except ClusterError as error:
            said, _, remedy = str(error).partition("; ")
            yield Finding("Kubeflow Pipelines", "fail", said, remedy, vital=True)
            return
        users = "several users" if health.multi_user else "one user"
        yield Finding("Kubeflow Pipelines", "pass", f"answers at {connection.host}, for {users}")
        if not health.multi_user and self.namespace != kubeflow.system_namespace:
            yield Finding(
                "namespace", "fail",
                f"Kubeflow Pipelines is set up for one user: runs go to {kubeflow.system_namespace}, and "
                f"not to {self.namespace}",
                f"write kubeflow: {{namespace: {kubeflow.system_namespace}}}", vital=True,
            )  # fmt: skip
            return
        try:
            list_runs = connection.runs.run_service_list_runs
            connection.ask("runs", list_runs, namespace=self.namespace, page_size=1)
        except ClusterError as error:
            said, _, remedy = str(error).removeprefix("runs: ").partition("; ")
            yield Finding("namespace", "fail", said, remedy, vital=True)
        else:
            yield Finding("namespace", "pass", f"runs of {self.namespace} can be listed")

    def _version(self) -> Finding:
        tag = str(self.connection.plain("/apis/v1beta1/healthz").get("tag_name") or "")
        numbers = re.match(r"v?(\d+)\.(\d+)", tag)
        if numbers is None:
            remedy = f"look at the image tag of ml-pipeline; it must be {_dotted(OLDEST)} or later"
            return Finding("version", "unknown", "Kubeflow Pipelines doesn't tell its version", remedy)
        if (int(numbers[1]), int(numbers[2])) < OLDEST:
            remedy = f"upgrade to {_dotted(OLDEST)} or later"
            return Finding("version", "fail", f"Kubeflow Pipelines {tag} is too old", remedy, vital=True)
        return Finding("version", "pass", f"Kubeflow Pipelines {tag}")

    def _kubernetes(self) -> Iterator[Finding]:
        from kubernetes import client

        look, api = self.connection.look, self.connection.core.api_client
        groups = {g.name for g in look("API groups", client.ApisApi(api).get_api_versions).groups}
        wanted = ["argoproj.io", "kubeflow.org"]
        if any(pool.queue for pool in (*self.cluster.computes.values(), self.cluster.cpu)):
            wanted.append("kueue.x-k8s.io")
        if lacking := [group for group in wanted if group not in groups]:
            yield Finding(
                "resource types", "fail", f"{', '.join(lacking)} is not installed",
                "install Kubeflow Pipelines' manifests, and Kueue where a compute has a queue",
            )  # fmt: skip
        else:
            yield Finding("resource types", "pass", ", ".join(wanted))
        for verb, resource, part, needed in RIGHTS:
            allowed = self._may(client.AuthorizationV1Api(api), verb, resource, part)
            name = f"{verb} {resource}{'/' + part if part else ''}"
            if allowed:
                yield Finding("right", "pass", f"{name} in {self.namespace}")
            else:
                yield Finding(
                    "right", "fail" if needed else "unknown", f"you may not {name} in {self.namespace}",
                    "ask for the role maskline-user there (manifests/base/access.yaml)",
                )  # fmt: skip

    def _may(self, api: Any, verb: str, resource: str, part: str) -> bool:
        from kubernetes import client

        asked = client.V1ResourceAttributes(
            namespace=self.namespace, verb=verb, resource=resource, subresource=part or None
        )
        body = client.V1SelfSubjectAccessReview(
            spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=asked)
        )
        review = self.connection.look("your rights", api.create_self_subject_access_review, body=body)
        return bool(review.status.allowed)

    def computes(self) -> dict[str, Compute]:
        """What is looked at: the job's compute, or all."""
        if self.job is None:
            return dict(self.cluster.computes)
        return {self.job.compute or "compute": choose_compute(self.job, self.placing)}

    def _nodes(self) -> Iterator[Finding]:
        nodes = self.connection.look("nodes", self.connection.core.list_node).items
        for name, compute in self.computes().items():
            fitting = [node for node in nodes if not why_not(node, compute)]
            asked = (
                f"{compute.accelerator_count} {compute.accelerator}"
                if compute.accelerator
                else "no accelerator"
            )
            if fitting:
                yield Finding(
                    f"compute {name}", "pass", f"nodes that can take a trial ({asked}): {len(fitting)}"
                )
            elif found := labelled(nodes, compute):
                why = why_not(found[0], compute)
                remedy = "correct the compute's tolerations or sizes"
                yield Finding(f"compute {name}", "fail", f"node {found[0].metadata.name}: {why}", remedy)
            else:
                remedy = (
                    "correct its node_selector, unless an autoscaler makes such nodes when they are needed"
                )
                yield Finding(f"compute {name}", "unknown", "no node has its labels now", remedy)

    def _claims(self) -> Iterator[Finding]:
        for volume in self.cluster.volumes:
            check = f"claim {volume.claim}"
            read = self.connection.core.read_namespaced_persistent_volume_claim
            claim = self._read(check, read, volume.claim)
            if claim is None:
                remedy = "make it (manifests/base/run_volume.yaml), or correct volumes"
                yield Finding(check, "fail", f"is not in {self.namespace}", remedy, vital=True)
                continue
            modes, phase = claim.spec.access_modes or [], claim.status.phase
            shared = "ReadWriteMany" in modes
            if phase == "Lost":
                yield Finding(check, "fail", "has lost its volume", "make it anew, or restore it", vital=True)
            elif phase == "Pending" and not self._binds_late(claim):
                remedy = "look at its events: does its storage class exist, and have space?"
                yield Finding(check, "fail", "is not bound to a volume", remedy, vital=True)
            elif not shared and volume == self.cluster.run_volume:
                remedy = "all pods must run on one node; use ReadWriteMany where there are several"
                yield Finding(check, "unknown", f"is {', '.join(modes)}", remedy)
            else:
                yield Finding(check, "pass", f"{phase}, {', '.join(modes)}")

    def _binds_late(self, claim: Any) -> bool:
        """Whether a claim is bound when its first pod comes, by its storage class."""
        from kubernetes import client

        if not claim.spec.storage_class_name:
            return False
        read = client.StorageV1Api(self.connection.core.api_client).read_storage_class
        found = self._read("storage class", read, claim.spec.storage_class_name, namespaced=False)
        return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"

    def _secrets(self) -> Iterator[Finding]:
        wanted: dict[str, set[str]] = {
            secret.name: set(secret.env.values()) for secret in self.cluster.secrets
        }
        if study := self.cluster.study:
            wanted.setdefault(study.secret, set()).add(study.key)
        for name in self.cluster.images.pull_secrets:
            wanted.setdefault(name, set()).add(".dockerconfigjson")
        for name, keys in wanted.items():
            check = f"secret {name}"
            found = self._read(check, self.connection.core.read_namespaced_secret, name)
            if found is None:
                remedy = f"make it with the keys {', '.join(sorted(keys))}" if keys else "make it"
                yield Finding(check, "fail", f"is not in {self.namespace}", remedy, vital=True)
            elif lacking := sorted(keys - set(found.data or {})):
                yield Finding(check, "fail", f"lacks {', '.join(lacking)}", "add the keys", vital=True)
            else:
                yield Finding(check, "pass", f"has {', '.join(sorted(keys)) or 'no keys that are asked for'}")

    def _account(self) -> Iterator[Finding]:
        if name := self.cluster.service_account:
            check = f"service account {name}"
            if self._read(check, self.connection.core.read_namespaced_service_account, name) is None:
                remedy = "make it, or leave service_account out"
                yield Finding(check, "fail", f"is not in {self.namespace}", remedy, vital=True)
            else:
                yield Finding(check, "pass", f"is in {self.namespace}")

    def _read(self, what: str, method: Callable[..., Any], name: str, namespaced: bool = True) -> Any:
        """An object of Kubernetes', or None if it isn't there."""
        from kubernetes.client import ApiException

        missing = []

        def read(**arguments: Any) -> Any:
            try:
                return method(**arguments)
            except ApiException as error:
                if error.status != 404:
                    raise
                missing.append(name)

        place = {"namespace": self.namespace} if namespaced else {}
        return self.connection.look(what, read, name=name, **place)

    def _images(self) -> Iterator[Finding]:
        images = self.cluster.images
        try:
            nodes = self.connection.look("nodes", self.connection.core.list_node).items
        except ClusterError:
            nodes = []
        present = {name for node in nodes for image in node.status.images or () for name in image.names or ()}
        for name in ("light", "trainer"):
            image = f"{images.registry}/maskline-{name}:{images.tag}"
            if image in present:
                yield Finding(f"image {name}", "pass", f"{image} is on a node")
                continue
            found = published(image)
            if found:
                yield Finding(f"image {name}", "pass", f"{image} is in the registry")
            elif found is False:
                yield Finding(
                    f"image {name}", "fail", f"{image} is not in the registry", "push it (make images)"
                )
            else:
                remedy = "nodes may still: look at images.pull_secrets"
                yield Finding(f"image {name}", "unknown", f"{image} can't be looked up from here", remedy)

    def _data(self) -> Iterator[Finding]:
        from ..compiler import outside, plan

        if self.job is None:
            return
        made = plan(self.job, self.placing)
        lost = outside(self.job, self.placing)
        for path in (made.training_data, made.validation_data, made.test_data):
            if not path:
                continue
            if path in lost:
                yield Finding("data", "fail", f"{path} is on no volume", "give a URI, or a path on a volume")
            elif "://" in path:
                yield _readable(path)
            else:
                yield Finding("data", "unknown", f"{path} is on a volume", "only a pod can look at it")

    def _run_root(self) -> Iterator[Finding]:
        if "://" not in (root := self.cluster.run_root):
            return  # its claim is looked at
        found = _readable(root)
        if found.outcome == "fail":  # the first run makes it
            found = Finding("run_root", "pass", f"the store of {root} answers from here")
        yield replace(found, check="run_root")

    def _database(self) -> Iterator[Finding]:
        import base64

        study = self.cluster.study
        if study is None:
            return
        url = os.environ.get("MASKLINE_STUDY_URL", "")
        if not url:
            read = self.connection.core.read_namespaced_secret
            secret = self._read(f"secret {study.secret}", read, study.secret)
            if study.key not in ((secret and secret.data) or {}):
                return  # the secrets are looked at
            url = base64.b64decode(secret.data[study.key]).decode()
        parts = urlsplit(url)
        if not parts.hostname or not parts.scheme.startswith("postgres"):
            remedy = "write postgresql://user:password@host/database into it"
            yield Finding(
                "study database", "fail", f"key {study.key} of {study.secret} is no address", remedy
            )
            return
        service = parts.hostname.split(".")[0]
        endpoints = self._read("study database", self.connection.core.read_namespaced_endpoints, service)
        if endpoints is not None:
            ready = sum(len(subset.addresses or ()) for subset in endpoints.subsets or ())
            outcome: Outcome = "pass" if ready else "fail"
            remedy = "" if ready else f"look at the pods of {service}, and at the space of its volume"
            yield Finding("study database", outcome, f"service {service} has {ready} ready pods", remedy)
            return
        try:
            socket.create_connection((parts.hostname, parts.port or 5432), 5).close()
            yield Finding("study database", "pass", f"{parts.hostname} takes connections")
        except OSError as error:
            remedy = "from the cluster it may be: look from a pod"
            yield Finding("study database", "unknown", f"{parts.hostname} can't be reached: {error}", remedy)


def _readable(path: str) -> Finding:
    """Whether data can be read with this machine's credentials."""
    from maskline import storage

    try:
        there = storage.exists(path)
    except Exception as error:
        reason = " ".join(str(error).split()).removeprefix(f"{path} can't be read: ")[:160]
        remedy = "stages have the cluster file's secrets, and may still"
        return Finding("data", "unknown", f"{path} can't be read from here: {reason}", remedy)
    if there:
        return Finding("data", "pass", f"{path} can be read from here")
    return Finding("data", "fail", f"{path} is not there", "correct the path")


def require(connection: Connection, job: ImageInstanceSegmentationJob, placing: Cluster | None) -> None:
    """Refuse a submission that can't run.

    Raises:
        JobError: the job asks for what the cluster file doesn't have.
        ClusterError: something vital is missing; all of it at once.
    """
    found = [f for f in Doctor(connection, job, placing).vital() if f.outcome == "fail" and f.vital]
    if found:
        raise ClusterError([finding.line for finding in found])


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
