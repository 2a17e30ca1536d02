"""Runs in the cluster, from Python: submit, status, cancel, retry; `maskline.Client`.

client = maskline.Client("cluster.yaml")
job = client.submit(maskline.load_job("job.yaml"))     # job.id, job.status, job.studio_url are filled
client.wait(job.id)
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from maskline.artifacts import TrialRecord
from maskline.errors import ClusterError
from maskline.job import ImageInstanceSegmentationJob

from ..cluster_file import Cluster, read_cluster
from .connection import Connection
from .doctor import require
from .download import download
from .liveness import silence
from .pods import Pods
from .schedules import Schedules
from .states import TERMINAL, RunStatus, azure_state
from .submission import Experiment, prepare, runtime
from .trials import read_trials

FASTEST, SLOWEST = 2.0, 60.0
"""Seconds between two looks at a run, at first and at last, as Azure's SDK has it."""


class Client:
    """Runs of Maskline in one namespace of a cluster.

    Args:
        cluster: a cluster file, or what `read_cluster` made of one; None for the defaults.

    Raises:
        JobError: something in the cluster file is wrong.
    """

    def __init__(self, cluster: Cluster | str | os.PathLike[str] | None = None) -> None:
        self.cluster = cluster if isinstance(cluster, Cluster) else read_cluster(cluster)
        # A file that was read has meaning for a job's `compute`; the defaults have none.
        self.placing = None if cluster is None else self.cluster
        self._connection: Connection | None = None

    @property
    def connection(self) -> Connection:
        """The way to Kubeflow Pipelines and Kubernetes, made when first used."""
        if self._connection is None:
            self._connection = Connection(self.cluster)
        return self._connection

    @property
    def pods(self) -> Pods:
        """The pods of runs."""
        return Pods(self.connection)

    def submit(
        self,
        job: ImageInstanceSegmentationJob,
        parameters: Mapping[str, Any] | None = None,
        check: bool = True,
    ) -> ImageInstanceSegmentationJob:
        """Start a run.

        Args:
            job: a job.
            parameters: of the pipeline, in place of its defaults.
            check: look first whether the cluster has what the run needs (see `doctor`).

        Returns:
            The job with `id`, `status`, `studio_url` and `creation_context`.

        Raises:
            JobError: the job can't run, or not in this cluster.
            ClusterError: Kubeflow Pipelines refuses, or the cluster lacks something; nothing was created.
            UnansweredError: it didn't answer in time, and the run may have been created.
        """
        import kfp_server_api as api

        made = prepare(job, self.placing, parameters)
        if check:
            require(self.connection, job, self.placing)
        connection = self.connection
        with Experiment(connection, made.experiment) as experiment_id:
            body = api.V2beta1Run(
                experiment_id=experiment_id,
                display_name=made.name,
                description=job.description,
                pipeline_spec=made.specification,
                runtime_config=runtime(self.cluster, made.parameters),
                service_account=self.cluster.service_account,
            )
            run = connection.create("the run", connection.runs.run_service_create_run, run=body)
        return filled(job, self._status(run), run)

    @property
    def schedules(self) -> Schedules:
        """Recurring runs."""
        return Schedules(self.connection, self.placing)

    def logs(
        self, run_id: str, follow: bool = False, trial: int | None = None, stage: str | None = None
    ) -> Iterator[str]:
        """Lines of the logs of a run's stages; see `Pods.logs`.

        Args:
            run_id: of the run.
            follow: go on until the run ends.
            trial: only that of this trial of the sweep.
            stage: only that of this stage.
        """
        return (self.pods.follow if follow else self.pods.logs)(run_id, trial, stage)

    def trials(self, run_id: str) -> list[TrialRecord]:
        """The trials of a run by number, as the logs of its slots tell.

        Args:
            run_id: of the run.

        Raises:
            ClusterError: there is no such run, or Kubernetes can't be asked.
        """
        self.run(run_id)
        return read_trials(self.pods.slots(run_id))

    def download(self, run_id: str, folder: str | os.PathLike[str]) -> list[Path]:
        """Fetch what a run left in object stores; see `download.download`."""
        return download(self.connection, run_id, Path(folder))

    def status(self, run_id: str) -> RunStatus:
        """Where a run is.

        Raises:
            ClusterError: there is no such run, or nobody answers.
        """
        return self._status(self.run(run_id))

    def runs(self, limit: int = 20) -> list[RunStatus]:
        """The youngest runs of the namespace, as KFP alone sees them.

        Args:
            limit: most runs.
        """
        import kfp_server_api as api

        connection = self.connection
        listed = connection.all(
            f"runs in namespace {connection.namespace}",
            connection.runs.run_service_list_runs,
            "runs",
            namespace=connection.namespace,
            sort_by="created_at desc",
        )
        found: list[api.V2beta1Run] = [run for run, _ in zip(listed, range(limit), strict=False)]
        return [self._status(run, look=False) for run in found]

    def get(self, run_id: str) -> ImageInstanceSegmentationJob:
        """The job of a run, with all that the cluster tells of it.

        Raises:
            ClusterError: there is no such run, or it is none of Maskline's.
        """
        import json

        run = self.run(run_id)
        parameters = (run.runtime_config.parameters if run.runtime_config else None) or {}
        specification = run.pipeline_spec or {}
        specification = specification.get("pipeline_spec", specification)
        inputs = specification.get("root", {}).get("inputDefinitions", {}).get("parameters", {})
        packed = parameters.get("job") or inputs.get("job", {}).get("defaultValue")
        try:
            job = ImageInstanceSegmentationJob.from_dict(json.loads(packed)["job"])
        except (TypeError, KeyError, ValueError) as error:
            raise ClusterError(
                f"run {run_id} holds no job that can be read ({error}); is it Maskline's?"
            ) from None
        return filled(job, self._status(run), run, self.pods.log_addresses(run_id))

    def wait(
        self, run_id: str, watch: Callable[[RunStatus], None] | None = None, timeout: float | None = None
    ) -> RunStatus:
        """Wait for the end of a run; short failures of the network are waited out.

        Args:
            run_id: of the run.
            watch: told of every change.
            timeout: seconds; None to wait for ever.

        Raises:
            ClusterError: the run went on longer, or nobody answered five times in a row.
        """
        pause, failures, before, end = FASTEST, 0, None, time.monotonic() + (timeout or 1e12)
        while True:
            try:
                status = self.status(run_id)
                failures = 0
            except ClusterError:
                failures += 1
                if failures == 5:
                    raise
            else:
                told = (status.state, status.stages, status.troubles)
                if told != before and watch:
                    watch(status)
                pause = FASTEST if told != before else min(pause * 1.5, SLOWEST)
                before = told
                if status.state in TERMINAL:
                    return status
            if time.monotonic() > end:
                raise ClusterError(
                    f"run {run_id} goes on after {timeout:g} seconds; `maskline status` tells more"
                )
            time.sleep(min(pause, max(0.0, end - time.monotonic()) + 0.01))

    def cancel(self, run_id: str) -> RunStatus:
        """Stop a run.

        Raises:
            ClusterError: it has ended already, or there is none.
        """
        before = self.status(run_id)
        if before.state in TERMINAL:
            raise ClusterError(f"run {run_id} is {before.state} already; there is nothing to cancel")
        if before.state == "CancelRequested":
            return before
        connection = self.connection
        connection.ask(f"run {run_id}", connection.runs.run_service_terminate_run, run_id=run_id)
        return self.status(run_id)

    def retry(self, run_id: str) -> RunStatus:
        """Run what failed of a run again; trials go on from their checkpoints.

        Raises:
            ClusterError: it has not failed, or there is none.
        """
        before = self.status(run_id)
        if before.state not in ("Failed", "Canceled"):
            raise ClusterError(
                f"run {run_id} is {before.state}; only a failed or cancelled run can be retried"
            )
        connection = self.connection
        connection.ask(f"run {run_id}", connection.runs.run_service_retry_run, run_id=run_id)
        return self.status(run_id)

    def run(self, run_id: str) -> Any:
        """A run as KFP has it (V2beta1Run).

        Raises:
            ClusterError: there is no such run.
        """
        connection = self.connection
        return connection.ask(f"run {run_id}", connection.runs.run_service_get_run, run_id=run_id)

    def _status(self, run: Any, look: bool = True) -> RunStatus:
        """What KFP says of a run, and, with `look`, what its pods say."""
        facts, seen = [], False
        ended = run.state in ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
        if look:
            with suppress(ClusterError):
                facts, seen = self.pods.facts(run.run_id), True
        stages: dict[str, dict[str, int]] = {}
        for pod in facts:
            if pod.stage:
                of_stage = stages.setdefault(pod.stage, {})
                of_stage[pod.state] = of_stage.get(pod.state, 0) + 1
        troubles = [pod.trouble for pod in facts if pod.trouble and not (ended and pod.state == "Queued")]
        state = azure_state(
            run.state, facts, silence(run.run_id) if run.state == "RUNNING" and look else None
        )
        return RunStatus(
            run.run_id, run.display_name or "", state, run.state or "", stages, tuple(troubles), _error(run),
            run.created_at, run.finished_at if ended else None, self.connection.page(run.run_id), seen,
        )  # fmt: skip


def _error(run: Any) -> str:
    """Why a run failed: its own reason, else that of the first task that has one."""
    if run.error is not None and run.error.message:
        return str(run.error.message)
    details = run.run_details.task_details if run.run_details else None
    for task in details or ():
        if task.state == "FAILED" and task.error is not None and task.error.message:
            return f"{task.display_name}: {task.error.message}"
    return ""


def filled(
    job: ImageInstanceSegmentationJob, status: RunStatus, run: Any, log_files: Mapping[str, str] | None = None
) -> ImageInstanceSegmentationJob:
    """A job with what the cluster tells of its run."""
    context = {
        "created_at": status.created.isoformat() if status.created else None,
        "service_account": run.service_account,
        "experiment_id": run.experiment_id,
        "recurring_run_id": run.recurring_run_id,
    }
    told = {
        "id": status.run_id,
        "status": status.state,
        "services": {"Studio": {"endpoint": status.page}},
        "creation_context": {name: value for name, value in context.items() if value},
        "log_files": dict(log_files or {}) or None,
    }
    plain = {key: value for key, value in job.to_dict().items() if key not in told}
    plain |= {key: value for key, value in told.items() if value}
    return ImageInstanceSegmentationJob.from_dict(plain, base_path=job.base_path)
