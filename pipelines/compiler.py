"""A job -> a compiled pipeline (KFP's intermediate representation)."""

import re
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from maskline.errors import JobError, StageError
from maskline.inputs import resolve
from maskline.job import ImageInstanceSegmentationJob
from maskline.stages import pack

from .instance_segmentation import Plan, instance_segmentation
from .lint import lint


def compile_job(job: ImageInstanceSegmentationJob, destination: Path) -> dict[str, Any]:
    """Compile a job to a pipeline file.

    Args:
        job: a job; relative data paths are resolved against its folder.
        destination: YAML file to write; its folder must exist.

    Returns:
        The compiled pipeline as plain data.

    Raises:
        JobError: the job can't run; the data itself is not looked at, since it may lie in the cluster.
        StageError: KFP would get the pipeline wrong.
    """
    if problems := job.problems(check_data=False):
        raise JobError(problems)
    if destination.suffix not in (".yaml", ".yml"):
        raise JobError(f"{destination} must end in .yaml: KFP reads no other pipeline files")
    compiler.Compiler().compile(instance_segmentation(plan(job)), str(destination))
    ir: dict[str, Any] = next(yaml.safe_load_all(destination.read_text(encoding="utf-8")))
    if findings := lint(ir):
        destination.unlink()
        raise StageError("the compiled pipeline would not run as written:\n" + "\n".join(findings))
    return ir


def unused(job: ImageInstanceSegmentationJob) -> list[str]:
    """Fields of a job that are set and say where a cluster is to run it, which is fixed for now."""
    placing = ("compute", "resources", "identity", "queue_settings", "environment_id")
    return [name for name in placing if name in job.model_fields_set]


def plan(job: ImageInstanceSegmentationJob) -> Plan:
    """What of a job is fixed in its pipeline."""

    def path(data: Any) -> str:
        return resolve(data, job.base_path, job.properties) if data is not None else ""

    return Plan(
        name=pipeline_name(job),
        description=job.description or "Image instance segmentation: sweep, evaluation, ONNX export",
        job=pack(job),
        training_data=path(job.training_data),
        validation_data=path(job.validation_data),
        test_data=path(job.test_data),
        slots=job.limits.max_trials,
        parallelism=job.limits.concurrent_trials,
        environment=job.environment_variables or {},
    )


def pipeline_name(job: ImageInstanceSegmentationJob) -> str:
    """The job's name as KFP allows it: lower case, digits and hyphens, at most 100 characters."""
    chosen = job.name or job.display_name or job.experiment_name or "instance-segmentation"
    return re.sub(r"[^a-z0-9]+", "-", chosen.lower()).strip("-")[:100] or "instance-segmentation"
