"""What a job becomes in Kubeflow Pipelines: everything that a run or a schedule is made of."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from maskline.errors import ClusterError, JobError, UnansweredError
from maskline.job import ImageInstanceSegmentationJob
from maskline.rules import nearest_name

from ..cluster_file import Cluster
from .connection import Connection

EXPERIMENT = "maskline"
"""Experiment of jobs that name none."""


@dataclass(frozen=True)
class Prepared:
    """A compiled job.

    Attributes:
        specification: pipeline and platform, as KFP's API takes them.
        parameters: that differ from the pipeline's defaults.
        name: that is shown.
        experiment: name of the experiment.
    """

    specification: dict[str, Any]
    parameters: dict[str, Any]
    name: str
    experiment: str


def prepare(
    job: ImageInstanceSegmentationJob, placing: Cluster | None, parameters: Mapping[str, Any] | None = None
) -> Prepared:
    """Compile a job and check the parameters; nothing is created.

    Args:
        job: a job.
        placing: the cluster file; None where there is none.
        parameters: of the pipeline, in place of its defaults.

    Raises:
        JobError: with every reason.
    """
    import yaml

    from ..compiler import compile_job, outside, pipeline_name
    from ..lint import lint_value

    given = dict(parameters or {})
    if "run_root" in given:
        known = placing.model_dump(exclude_unset=True) if placing else {}
        Cluster(**{**known, "run_root": str(given["run_root"])})  # what doesn't hold is an error
    lost = outside(job, placing) if "training_data" not in given else []
    if lost:
        below = "give a URI, or a path below one of the cluster file's volumes"
        raise JobError([f"{path} is on no volume that stages mount; {below}" for path in lost])
    with TemporaryDirectory() as folder:
        file = Path(folder) / "pipeline.yaml"
        compile_job(job, file, placing)
        pipeline, platform = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    legal = pipeline["root"]["inputDefinitions"]["parameters"]
    if wrong := [name for name in given if name not in legal]:
        raise JobError([f"parameter {name} is not legal; {nearest_name(name, legal)}" for name in wrong])
    if findings := [finding for name, value in given.items() for finding in lint_value(name, value)]:
        raise JobError(findings)
    name = job.display_name or job.name or f"{pipeline_name(job)}-{time.strftime('%Y%m%d-%H%M%S')}"
    both = {"pipeline_spec": pipeline, "platform_spec": platform}
    return Prepared(both, given, name, job.experiment_name or EXPERIMENT)


def runtime(cluster: Cluster, parameters: Mapping[str, Any]) -> Any:
    """A run's parameters and where its artifacts go (V2beta1RuntimeConfig)."""
    import kfp_server_api as api

    return api.V2beta1RuntimeConfig(parameters=dict(parameters), pipeline_root=cluster.kubeflow.pipeline_root)


class Experiment:
    """An experiment while something is created in it; if that fails, one that was made for it goes too.

    Where nobody knows whether it failed, it stays: KFP keeps the runs of an experiment that is deleted.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self.connection, self.name, self._made = connection, name, ""

    def __enter__(self) -> str:
        import kfp_server_api as api

        connection = self.connection
        what = f"experiment {self.name} in namespace {connection.namespace}"
        for found in self._named(what):
            if found.storage_state == "ARCHIVED":
                raise ClusterError(f"{what} is archived; restore it, or give another experiment_name")
            return str(found.experiment_id)
        body = api.V2beta1Experiment(display_name=self.name, namespace=connection.namespace)
        made = connection.ask(
            what, connection.experiments.experiment_service_create_experiment, experiment=body
        )
        self._made = str(made.experiment_id)
        return self._made

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and not issubclass(kind, UnansweredError) and self._made:
            delete = self.connection.experiments.experiment_service_delete_experiment
            with suppress(ClusterError):
                self.connection.ask(f"experiment {self.name}", delete, experiment_id=self._made)

    def _named(self, what: str) -> Iterator[Any]:
        connection = self.connection
        equal = {"operation": "EQUALS", "key": "display_name", "stringValue": self.name}
        return connection.all(
            what,
            connection.experiments.experiment_service_list_experiments,
            "experiments",
            namespace=connection.namespace,
            filter=json.dumps({"predicates": [equal]}),
        )
