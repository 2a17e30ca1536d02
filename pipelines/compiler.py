"""A job -> a compiled pipeline (KFP's intermediate representation)."""

import json
import os
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kfp import compiler

from maskline.errors import JobError, StageError
from maskline.inputs import resolve
from maskline.job import ImageInstanceSegmentationJob
from maskline.stages import pack

from .instance_segmentation import Plan, instance_segmentation
from .lint import lint
from .placement import RUN_ROOT


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
    if destination.is_dir() or (destination.exists() and b"pipelineInfo" not in destination.read_bytes()):
        raise JobError(f"{destination} exists and is no compiled pipeline; choose another file")
    if not destination.parent.is_dir():
        raise JobError(f"the folder {destination.parent} doesn't exist; make it first")
    with TemporaryDirectory(dir=destination.parent) as folder:
        compiled = Path(folder) / destination.name
        compiler.Compiler().compile(instance_segmentation(plan(job)), str(compiled))
        ir: dict[str, Any] = next(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))
        if findings := lint(ir):
            raise StageError("the compiled pipeline would not run as written:\n" + "\n".join(findings))
        os.replace(compiled, destination)
    return ir


def located(job: ImageInstanceSegmentationJob) -> ImageInstanceSegmentationJob:
    """The same job, that finds its data and weights from any folder."""
    plain = job.to_dict()
    for name in ("training_data", "validation_data", "test_data"):
        if (data := getattr(job, name)) is not None:
            plain[name]["path"] = resolve(data, job.base_path, job.properties)
    chosen = plain.get("training_parameters", {})
    if "checkpoint_run_id" in chosen:
        chosen["checkpoint_run_id"] = _from(job.base_path, chosen["checkpoint_run_id"])
    if "advanced_settings" in chosen:
        advanced = json.loads(chosen["advanced_settings"])
        if (weights := advanced.get("pretrained_weights")) not in (None, "none", "coco", "imagenet"):
            advanced["pretrained_weights"] = _from(
                job.base_path, weights if "/" in weights else f"./{weights}"
            )
            chosen["advanced_settings"] = json.dumps(advanced)
    return ImageInstanceSegmentationJob.from_dict(plain, base_path=job.base_path)


def _from(folder: str, path: str) -> str:
    """A path as seen from a folder; URIs stay, and bare names, which are those of runs."""
    return path if "://" in path or "/" not in path else os.path.normpath(os.path.join(folder, path))


def outside(job: ImageInstanceSegmentationJob) -> list[str]:
    """Data paths that a stage in the cluster won't find, since they are on no volume that it mounts."""
    made = plan(job)
    paths = (made.training_data, made.validation_data, made.test_data)
    return [path for path in paths if path and not path.startswith(f"{RUN_ROOT}/")]


def plan(job: ImageInstanceSegmentationJob) -> Plan:
    """What of a job is fixed in its pipeline."""

    def path(data: Any) -> str:
        return resolve(data, job.base_path, job.properties) if data is not None else ""

    return Plan(
        name=pipeline_name(job),
        description=_harmless(job.description)
        or "Image instance segmentation: sweep, evaluation, ONNX export",
        job=pack(located(job)),
        training_data=path(job.training_data),
        validation_data=path(job.validation_data),
        test_data=path(job.test_data),
        slots=job.limits.max_trials,
        parallelism=job.limits.concurrent_trials,
        environment=job.environment_variables or {},
    )


def _harmless(text: str | None) -> str:
    """A text without `{{`, which KFP would take for a placeholder of its own."""
    return (text or "").replace("{{", "{ {")


def pipeline_name(job: ImageInstanceSegmentationJob) -> str:
    """The job's name as KFP allows it: lower case, digits and hyphens, at most 100 characters."""
    chosen = job.name or job.display_name or job.experiment_name or "instance-segmentation"
    return re.sub(r"[^a-z0-9]+", "-", chosen.lower()).strip("-")[:100] or "instance-segmentation"
