"""Recurring runs: the same job again, on data as they are then."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from maskline.errors import JobError
from maskline.job import ImageInstanceSegmentationJob

from ..cluster_file import Cluster
from .connection import Connection
from .cron import Cron
from .doctor import require
from .submission import Experiment, prepare, runtime


@dataclass(frozen=True)
class Schedule:
    """A recurring run.

    Attributes:
        schedule_id: KFP's.
        name: shown name.
        cron: six fields, seconds first, in UTC.
        enabled: whether it starts runs.
        parameters: of the pipeline.
        created: when it was made.
        next: the next time; None while it is paused.
    """

    schedule_id: str
    name: str
    cron: str
    enabled: bool
    parameters: Mapping[str, Any]
    created: datetime | None = None
    next: datetime | None = None


class Schedules:
    """The recurring runs of a namespace.

    Args:
        connection: to the cluster.
        placing: the cluster file; None where there is none.
    """

    def __init__(self, connection: Connection, placing: Cluster | None) -> None:
        self.connection, self.placing = connection, placing

    def create(
        self,
        job: ImageInstanceSegmentationJob,
        cron: str,
        parameters: Mapping[str, Any] | None = None,
        catchup: bool = False,
        max_concurrency: int = 1,
        paused: bool = False,
        check: bool = True,
    ) -> Schedule:
        """Run a job again and again.

        Each run looks at the data anew, and prepares them if they have changed. Text in parameters may hold
        KFP's macros, as in `training_data=s3://bucket/[[ScheduledTime.2006-01-02]]/`.

        Args:
            job: a job.
            cron: five fields, or six with seconds first, in UTC.
            parameters: of the pipeline, in place of its defaults.
            catchup: also run what was missed while the schedule was paused or the cluster down.
            max_concurrency: most runs of it at a time, 1 to 10.
            paused: make it without starting it.
            check: look first whether the cluster has what the runs need.

        Raises:
            JobError: cron, job or parameters are wrong.
            ClusterError: Kubeflow Pipelines refuses; nothing was created.
            UnansweredError: it didn't answer in time, and the schedule may have been created.
        """
        import kfp_server_api as api

        read = Cron.read(cron)
        if not 1 <= max_concurrency <= 10:
            raise JobError(f"max_concurrency={max_concurrency} is outside [1, 10]; KFP allows no other")
        made = prepare(job, self.placing, dict(parameters or {}))
        if check:
            require(self.connection, job, self.placing)
        with Experiment(self.connection, made.experiment) as experiment_id:
            body = api.V2beta1RecurringRun(
                experiment_id=experiment_id,
                display_name=made.name,
                description=job.description,
                pipeline_spec=made.specification,
                runtime_config=runtime(self.connection.cluster, made.parameters),
                service_account=self.connection.cluster.service_account,
                trigger=api.V2beta1Trigger(cron_schedule=api.V2beta1CronSchedule(cron=read.text)),
                mode="DISABLE" if paused else "ENABLE",
                max_concurrency=str(max_concurrency),
                no_catchup=not catchup,
            )
            create = self.connection.recurring.recurring_run_service_create_recurring_run
            return _schedule(self.connection.create("the schedule", create, recurring_run=body))

    def list(self) -> list[Schedule]:
        """Every schedule of the namespace, the youngest first."""
        found = self.connection.all(
            f"schedules in namespace {self.connection.namespace}",
            self.connection.recurring.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            namespace=self.connection.namespace,
            sort_by="created_at desc",
        )
        return [_schedule(one) for one in found]

    def pause(self, schedule_id: str) -> None:
        """Start no more runs; those that run go on."""
        self._do(schedule_id, self.connection.recurring.recurring_run_service_disable_recurring_run)

    def resume(self, schedule_id: str) -> None:
        """Start runs again."""
        self._do(schedule_id, self.connection.recurring.recurring_run_service_enable_recurring_run)

    def delete(self, schedule_id: str) -> None:
        """Remove a schedule; its runs stay."""
        self._do(schedule_id, self.connection.recurring.recurring_run_service_delete_recurring_run)

    def _do(self, schedule_id: str, method: Any) -> None:
        self.connection.ask(f"schedule {schedule_id}", method, recurring_run_id=schedule_id)


def _schedule(found: Any) -> Schedule:
    cron = found.trigger.cron_schedule.cron if found.trigger and found.trigger.cron_schedule else ""
    enabled = found.status == "ENABLED" or (found.status is None and found.mode == "ENABLE")
    parameters = (found.runtime_config.parameters if found.runtime_config else None) or {}
    return Schedule(
        found.recurring_run_id, found.display_name or "", cron, enabled, parameters, found.created_at,
        Cron.read(cron).next() if cron and enabled else None,
    )  # fmt: skip
