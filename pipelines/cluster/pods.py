"""The pods of a run: what they do, and their logs."""

import queue
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

from maskline.errors import ClusterError

from .connection import TIMEOUT, Connection
from .kept_logs import Log, kept_logs, kept_trial
from .states import PodFacts, pod_facts

STAGE_LABEL = "app.kubernetes.io/component"
"""Label of a stage's pod with the stage's name; the compiler sets it."""
RUN_LABEL = "pipeline/runid"
"""Label that KFP gives to every pod of a run."""
CONTAINER = "main"
"""Container of a pod that runs the stage."""
LOOK_SECONDS = 2.0
"""Between two looks for new pods while logs are followed."""
TRIAL_LINE = re.compile(r"^trial (\d+) begins", re.MULTILINE)
"""How a slot of the sweep says in its log which trial it runs."""


class Pods:
    """The pods of runs in one namespace.

    Args:
        connection: to the cluster.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection, self.namespace = connection, connection.namespace

    def of(self, run_id: str) -> list[Any]:
        """Every pod of a run, oldest first, page by page.

        Raises:
            ClusterError: Kubernetes can't be asked.
        """
        found, token = [], None
        while True:
            answer = self.connection.look(
                f"pods in namespace {self.namespace}",
                self.connection.core.list_namespaced_pod,
                namespace=self.namespace,
                label_selector=f"{RUN_LABEL}={run_id}",
                limit=500,
                _continue=token,
            )
            found += answer.items
            if not (token := answer.metadata._continue if answer.metadata else None):
                return sorted(
                    found, key=lambda pod: (str(pod.metadata.creation_timestamp), pod.metadata.name)
                )

    def facts(self, run_id: str) -> list[PodFacts]:
        """What matters of every pod of a run."""
        pods = self.of(run_id)
        silent = self._silent_nodes() if any(pod.status.phase == "Running" for pod in pods) else set()
        return [pod_facts(pod, self._events(pod), stage_of(pod), silent) for pod in pods]

    def _events(self, pod: Any) -> list[Any]:
        """Events of a pod that waits; others need none."""
        if pod.status.phase != "Pending":
            return []
        try:
            answer = self.connection.look(
                f"events in namespace {self.namespace}",
                self.connection.core.list_namespaced_event,
                namespace=self.namespace,
                field_selector=f"involvedObject.name={pod.metadata.name}",
            )
        except ClusterError:
            return []  # then Provisioning is told as Queued
        return list(answer.items)

    def _silent_nodes(self) -> set[str]:
        """Nodes that are not ready; none where nodes may not be listed."""
        try:
            answer = self.connection.look("nodes", self.connection.core.list_node)
        except ClusterError:
            return set()
        return {
            node.metadata.name
            for node in answer.items
            if any(c.type == "Ready" and c.status != "True" for c in node.status.conditions or ())
        }

    def _log(self, name: str, **options: Any) -> str:
        return str(
            self.connection.look(
                f"log of pod {name}",
                self.connection.core.read_namespaced_pod_log,
                name=name,
                namespace=self.namespace,
                container=CONTAINER,
                **options,
            )
        )

    def logs(self, run_id: str, trial: int | None = None, stage: str | None = None) -> Iterator[str]:
        """Lines of the logs of a run's stages, each after its pod's short name.

        Args:
            run_id: of the run.
            trial: only that of this trial of the sweep.
            stage: only that of this stage.

        Raises:
            ClusterError: there is no such pod, or it is gone and nothing of its log was kept.
        """
        chosen = self._chosen(run_id, trial, stage)
        if not chosen:
            yield from self._kept(run_id, trial, stage)
        for pod in chosen:
            if pod.status.phase == "Pending":
                yield f"[{short(pod)}] waits for a node or an image"
                continue
            for line in self._log(pod.metadata.name).splitlines():
                yield f"[{short(pod)}] {line}"

    def _kept(self, run_id: str, trial: int | None, stage: str | None) -> Iterator[str]:
        """Lines of the logs of pods that are gone.

        Raises:
            ClusterError: none were kept.
        """
        wanted = "sweep_trial" if trial is not None else stage
        logs = [
            log
            for log in kept_logs(self.connection, run_id, wanted)
            if trial is None or _trial_in(log.text) == trial
        ]
        if not logs and trial is not None and (log := kept_trial(self.connection, run_id, trial)):
            logs = [log]
        if not logs:
            what = f"trial {trial}" if trial is not None else stage or "stage"
            raise ClusterError(
                f"run {run_id} has no pod of {what} in namespace {self.namespace}: it has not begun, or its "
                "pods are gone, and no store that the cluster file names (kubeflow.pipeline_root) has their "
                "logs; what trials logged stays in the run directory, in trials/N/log.txt"
            )
        for log in logs:
            for line in log.text.splitlines():
                yield f"[{log.name}] {line}"

    def slots(self, run_id: str) -> list[Log]:
        """The logs of a sweep's slots in the order in which they began; those kept, if the pods are gone.

        Raises:
            ClusterError: Kubernetes can't be asked.
        """
        return [
            Log(short(pod), "sweep_trial", self._log(pod.metadata.name), pod.status.phase != "Running")
            for pod in self._chosen(run_id, None, "sweep_trial")
            if pod.status.phase != "Pending"
        ] or list(kept_logs(self.connection, run_id, "sweep_trial"))

    def follow(self, run_id: str, trial: int | None = None, stage: str | None = None) -> Iterator[str]:
        """The same while the run goes on, as lines come in; ends with the run.

        Raises:
            ClusterError: a log can't be read.
        """
        lines: queue.Queue[str | ClusterError | None] = queue.Queue()
        begun: set[str] = set()
        working = 0
        while True:
            chosen = self._chosen(run_id, trial, stage)
            for pod in chosen:
                if pod.status.phase != "Pending" and pod.metadata.name not in begun:
                    begun.add(pod.metadata.name)
                    working += 1
                    threading.Thread(target=self._pump, args=(pod, lines), daemon=True).start()
            if not working and self._ended(run_id):
                return
            end = time.monotonic() + LOOK_SECONDS
            while (left := end - time.monotonic()) > 0:
                try:
                    line = lines.get(timeout=left)
                except queue.Empty:
                    break
                if isinstance(line, ClusterError):
                    raise line
                if line is None:
                    working -= 1
                else:
                    yield line

    def _pump(self, pod: Any, lines: "queue.Queue[str | ClusterError | None]") -> None:
        """Pass on a pod's lines, and at their end None."""
        from urllib3.exceptions import HTTPError

        try:
            for line in self._stream(pod):
                lines.put(line)
        except ClusterError as error:
            lines.put(error)
        except (HTTPError, OSError):
            lines.put(f"[{short(pod)}] the connection to this log broke; `maskline logs` shows the rest")
        finally:
            lines.put(None)

    def _stream(self, pod: Any) -> Iterator[str]:
        answer = self.connection.look(
            f"log of pod {pod.metadata.name}",
            _without_time_limit(self.connection.core.read_namespaced_pod_log),
            name=pod.metadata.name,
            namespace=self.namespace,
            container=CONTAINER,
            follow=True,
            _preload_content=False,
        )
        rest = b""
        for part in answer.stream(2048):
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                yield f"[{short(pod)}] {line.decode(errors='replace')}"
        if rest:
            yield f"[{short(pod)}] {rest.decode(errors='replace')}"

    def _ended(self, run_id: str) -> bool:
        run = self.connection.ask(f"run {run_id}", self.connection.runs.run_service_get_run, run_id=run_id)
        return run.state in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")

    def _chosen(self, run_id: str, trial: int | None, stage: str | None) -> list[Any]:
        """Pods that run stages; of one trial or stage where asked."""
        found = [pod for pod in self.of(run_id) if stage_of(pod)]
        if trial is not None:
            stage = "sweep_trial"
        found = [pod for pod in found if stage in (None, stage_of(pod))]
        if trial is not None:
            found = [pod for pod in found if pod.status.phase != "Pending" and self._trial(pod) == trial]
        return found

    def _trial(self, pod: Any) -> int | None:
        """The trial that a slot ran, as its log says."""
        try:
            return _trial_in(self._log(pod.metadata.name, limit_bytes=65536))
        except ClusterError:
            return None

    def log_addresses(self, run_id: str) -> dict[str, str]:
        """Addresses of the logs of a run's pods by short name; empty where Kubernetes can't be asked."""
        try:
            pods = [pod for pod in self.of(run_id) if stage_of(pod)]
        except ClusterError:
            return {}
        host = self.connection.core.api_client.configuration.host
        place = f"{host}/api/v1/namespaces/{self.namespace}/pods"
        return {short(pod): f"{place}/{pod.metadata.name}/log?container={CONTAINER}" for pod in pods}


def _trial_in(text: str) -> int | None:
    """The trial that a slot ran, as its log says."""
    said = TRIAL_LINE.search(text)
    return int(said[1]) if said else None


def stage_of(pod: Any) -> str:
    """The stage that a pod runs; empty for KFP's own."""
    return str((pod.metadata.labels or {}).get(STAGE_LABEL, ""))


def short(pod: Any) -> str:
    """A pod's name for people: its stage and the end of its name, which tells pods of one stage apart."""
    return f"{stage_of(pod)}-{pod.metadata.name.rsplit('-', 1)[-1]}"


def _without_time_limit(method: Any) -> Any:
    """A call whose answer may take as long as a training: only the connection has a limit."""

    def call(**arguments: Any) -> Any:
        return method(**{**arguments, "_request_timeout": (TIMEOUT[0], None)})

    return call
