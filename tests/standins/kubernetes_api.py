"""A stand-in of the endpoints of Kubernetes that Maskline uses; objects are plain data, as in manifests."""

import time
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from .kfp_api import KfpApi
from .server import Answer, Refusal, Request, Server

RUN_LABEL = "pipeline/runid"
STAGE_LABEL = "app.kubernetes.io/component"


def refusal(code: int, reason: str, message: str) -> Refusal:
    """An error as Kubernetes writes it."""
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
    return Refusal(Answer({**body, "code": code}, code))


def pod(
    name: str, run_id: str, stage: str = "", phase: str = "Running", node: str = "node-1", **status: Any
) -> Any:
    """A pod of a run."""
    labels = {RUN_LABEL: run_id, **({STAGE_LABEL: stage} if stage else {})}
    return {
        "metadata": {"name": name, "labels": labels, "creationTimestamp": "2026-11-25T12:00:00Z"},
        "spec": {"containers": [{"name": "main"}], **({"nodeName": node} if node else {})},
        "status": {"phase": phase, **status},
    }


def waiting(reason: str, message: str = "") -> Any:
    """Status of a container that waits."""
    return [{
        "name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"waiting": {"reason": reason, "message": message}},
    }]  # fmt: skip


def ended(reason: str, code: int) -> Any:
    """Status of a container that has ended."""
    terminated = {"exitCode": code, "reason": reason}
    return [{
        "name": "main", "image": "i", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"terminated": terminated},
    }]  # fmt: skip


def unscheduled(reason: str = "Unschedulable", message: str = "0/3 nodes are available") -> Any:
    """Conditions of a pod without a node."""
    return [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]


def node(name: str, labels: Any = None, taints: Any = None, ready: str = "True", **allocatable: str) -> Any:
    """A node."""
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"taints": taints or []},
        "status": {
            "allocatable": {"cpu": "64", "memory": "512Gi", **allocatable},
            "conditions": [{"type": "Ready", "status": ready}],
        },
    }


class KubernetesApi(Server):
    """Kubernetes, with one user.

    Args:
        kfp: Kubeflow Pipelines, reached as a service; None where there is none.
        namespaces: those that the user has rights in.
        token: that the user has.
    """

    def __init__(
        self, kfp: KfpApi | None = None, namespaces: tuple[str, ...] = ("team-a",), token: str = "k8s"
    ) -> None:
        super().__init__()
        self.kfp, self.namespaces, self.token = kfp, namespaces, token
        self.objects: dict[tuple[str, str], Any] = {}  # (plural, name) -> object of the namespace
        self.nodes: list[Any] = []
        self.events: list[Any] = []
        self.logs: dict[str, list[str]] = {}
        self.denied: set[str] = set()
        self.groups = ["argoproj.io", "kubeflow.org", "pipelines.kubeflow.org"]
        self.page = 500
        self.guard = self._guard
        place = "/api/v1/namespaces/([^/]+)"
        self.routes = [
            (f"GET {place}/pods", self._pods),
            (f"GET {place}/pods/([^/]+)/log", self._log),
            (f"GET {place}/events", self._events),
            ("GET /api/v1/nodes", self._nodes),
            (f"GET {place}/(secrets|persistentvolumeclaims|serviceaccounts|endpoints)/([^/]+)", self._one),
            (
                "GET /apis/storage.k8s.io/v1/(storageclasses)/([^/]+)",
                lambda r, k, n: self._one(r, "team-a", k, n),
            ),
            ("GET /apis/", self._groups),
            ("POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review),
            (f"(?:GET|POST|DELETE) {place}/services/ml-pipeline:http/proxy(/.*)", self._proxy),
        ]

    def _guard(self, request: Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise refusal(401, "Unauthorized", "Unauthorized")

    def _allow(self, namespace: str, resource: str) -> None:
        if namespace not in self.namespaces or resource in self.denied:
            what = f'{resource} is forbidden: User "me" cannot get resource in the namespace "{namespace}"'
            raise refusal(403, "Forbidden", what)

    def _pods(self, request: Request, namespace: str) -> Answer:
        self._allow(namespace, "pods")
        key, _, value = request.query.get("labelSelector", "").partition("=")
        found = [o for (kind, _), o in self.objects.items() if kind == "pods"]
        found = [o for o in found if not key or o["metadata"]["labels"].get(key) == value]
        start, size = (
            int(request.query.get("continue", 0)),
            min(int(request.query.get("limit", 500)), self.page),
        )
        metadata = {"continue": str(start + size)} if start + size < len(found) else {}
        return Answer(
            {
                "kind": "PodList",
                "apiVersion": "v1",
                "metadata": metadata,
                "items": found[start : start + size],
            }
        )

    def _log(self, request: Request, namespace: str, name: str) -> Answer:
        self._allow(namespace, "pods/log")
        found = self.objects.get(("pods", name))
        if found is None:
            raise refusal(404, "NotFound", f'pods "{name}" not found')
        if request.query.get("container") != "main" or found["status"]["phase"] == "Pending":
            raise refusal(400, "BadRequest", f'container "main" in pod "{name}" is waiting to start')
        lines = self.logs.get(name, [])
        if limit := request.query.get("tailLines"):
            lines = lines[-int(limit) :]
        return Answer("".join(f"{line}\n" for line in lines), kind="text/plain")

    def _events(self, request: Request, namespace: str) -> Answer:
        self._allow(namespace, "events")
        _, _, name = request.query.get("fieldSelector", "").partition("=")
        found = [event for event in self.events if event["involvedObject"]["name"] == name]
        return Answer({"kind": "EventList", "apiVersion": "v1", "metadata": {}, "items": found})

    def _nodes(self, request: Request) -> Answer:
        self._allow(self.namespaces[0] if self.namespaces else "", "nodes")
        return Answer({"kind": "NodeList", "apiVersion": "v1", "metadata": {}, "items": self.nodes})

    def _one(self, request: Request, namespace: str, kind: str, name: str) -> Answer:
        self._allow(namespace, kind)
        if (kind, name) not in self.objects:
            raise refusal(404, "NotFound", f'{kind} "{name}" not found')
        return Answer(deepcopy(self.objects[kind, name]))

    def _groups(self, request: Request) -> Answer:
        def group(name: str) -> Any:
            version = {"groupVersion": f"{name}/v1", "version": "v1"}
            return {"name": name, "versions": [version], "preferredVersion": version}

        return Answer(
            {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name) for name in self.groups]}
        )

    def _review(self, request: Request) -> Answer:
        asked = request.body["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        allowed = asked["namespace"] in self.namespaces and resource not in self.denied
        return Answer({**request.body, "status": {"allowed": allowed}}, 201)

    def _proxy(self, request: Request, namespace: str, path: str) -> Answer:
        if self.kfp is None:
            raise refusal(503, "ServiceUnavailable", "no endpoints available for service ml-pipeline:http")
        import json
        from urllib.parse import urlencode

        body = json.dumps(request.body).encode() if request.body is not None else b""
        target = f"{path}?{urlencode(request.query)}" if request.query else path
        return self.kfp.answer(request.method, target, request.headers, body)

    def put(self, kind: str, name: str, **content: Any) -> None:
        """Have an object in the namespace."""
        self.objects[kind, name] = {"metadata": {"name": name}, **content}

    def put_pod(self, described: Any) -> None:
        """Have a pod, or have it otherwise."""
        self.objects["pods", described["metadata"]["name"]] = described

    def event(self, name: str, reason: str) -> None:
        """Have an event of a pod."""
        now = datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.events.append({
            "metadata": {"name": f"{name}.1", "namespace": "team-a"}, "reason": reason, "lastTimestamp": now,
            "involvedObject": {"kind": "Pod", "name": name},
        })  # fmt: skip
