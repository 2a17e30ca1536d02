"""A job -> a compiled pipeline (KFP's intermediate representation)."""

import hashlib
import json
import os
import re
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from kfp import compiler
from kfp.compiler import KubernetesManifestOptions

from maskline.errors import JobError, StageError
from maskline.inputs import DATASTORE, absolute, resolve
from maskline.job import ImageInstanceSegmentationJob
from maskline.stages import pack

from .choice import choose_compute
from .cluster_file import Cluster
from .compact import shorten, write
from .instance_segmentation import Plan, instance_segmentation
from .lint import lint
from .placement import Placement

GRACE_SECONDS = 3600
"""What a trial's pod gets beyond the job's time limit, which the trial itself keeps."""


def compile_job(
    job: ImageInstanceSegmentationJob,
    destination: Path,
    cluster: Cluster | None = None,
    kubernetes: bool = False,
    spares: bool = True,
) -> dict[str, Any]:
    """Compile a job to a pipeline file.

    Args:
        job: a job; relative data paths are resolved against its folder.
        destination: YAML file to write; its folder must exist.
        cluster: where it is to run; None for the defaults, which take no notice of the job's `compute`.
        kubernetes: write a Pipeline and a PipelineVersion, to be applied in the cluster's namespace, instead
            of KFP's intermediate representation.
        spares: add slots that continue trials which lose theirs; on one machine slots aren't lost.

    Returns:
        The compiled pipeline (its specification) as plain data.

    Raises:
        JobError: the job can't run; the data itself is not looked at, since it may lie in the cluster.
        StageError: KFP would get the pipeline wrong.
    """
    if problems := job.problems(check_data=False):
        raise JobError(problems)
    made = plan(job, cluster)
    if spares:
        made = replace(made, slots=made.slots + spare_slots(made.slots))
    _check_destination(destination)
    with TemporaryDirectory(dir=destination.parent) as folder:
        compiled = Path(folder) / destination.name
        options = {"kubernetes_manifest_format": True, "kubernetes_manifest_options": _names(job, made)}
        compiler.Compiler().compile(
            instance_segmentation(made), str(compiled), **(options if kubernetes else {})
        )
        documents = list(yaml.safe_load_all(compiled.read_text(encoding="utf-8")))
        ir: dict[str, Any] = documents[-1]["spec"]["pipelineSpec"] if kubernetes else documents[0]
        if findings := lint(ir):
            raise StageError("the compiled pipeline would not run as written:\n" + "\n".join(findings))
        shorten(ir)
        with compiled.open("w", encoding="utf-8") as stream:
            write(documents, stream)
        os.replace(compiled, destination)
    return ir


def spare_slots(trials: int) -> int:
    """Slots beside those of the trials: a tenth. One that finds nothing to do ends in half a minute."""
    return -(-trials // 10)


def _check_destination(destination: Path) -> None:
    if destination.suffix not in (".yaml", ".yml"):
        raise JobError(f"{destination} must end in .yaml: KFP reads no other pipeline files")
    if destination.is_dir() or (destination.exists() and b"pipelineInfo" not in destination.read_bytes()):
        raise JobError(f"{destination} exists and is no compiled pipeline; choose another file")
    if not destination.parent.is_dir():
        raise JobError(f"the folder {destination.parent} doesn't exist; make it first")


def _names(job: ImageInstanceSegmentationJob, made: Plan) -> KubernetesManifestOptions:
    """Names of the Kubernetes objects. A version can't be changed, so its name tells of all that is in it."""
    content = repr((made.job, made.slots, made.parallelism, made.environment, made.placement))
    digest = hashlib.sha256(content.encode()).hexdigest()[:10]
    name = made.name[:63].strip("-")
    return KubernetesManifestOptions(
        pipeline_name=name,
        pipeline_display_name=job.display_name or made.name,
        pipeline_version_name=f"{name[:52].strip('-')}-{digest}",
        namespace=made.placement.cluster.kubeflow.namespace,
        include_pipeline_manifest=True,
    )


def located(job: ImageInstanceSegmentationJob) -> ImageInstanceSegmentationJob:
    """The same job, that finds its data and weights from any folder."""
    plain = job.to_dict()
    for name in ("training_data", "validation_data", "test_data"):
        if (data := getattr(job, name)) is not None:
            plain[name]["path"] = resolve(data, job.base_path, job.properties)
    for key, value in plain.get("properties", {}).items():
        if key.lower().startswith(DATASTORE):
            plain["properties"][key] = absolute(value, job.base_path)
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


def outside(job: ImageInstanceSegmentationJob, cluster: Cluster | None = None) -> list[str]:
    """Data paths that a stage in the cluster won't find, since they are on no volume that it mounts."""
    made = plan(job, cluster)
    folders = [f"{volume.path}/" for volume in made.placement.cluster.volumes]
    folders += [f"{secret.path}/" for secret in made.placement.cluster.secrets if secret.path]
    paths = (made.training_data, made.validation_data, made.test_data)
    return [path for path in paths if path and "://" not in path and not path.startswith(tuple(folders))]


def plan(job: ImageInstanceSegmentationJob, cluster: Cluster | None = None) -> Plan:
    """What of a job is fixed in its pipeline.

    Raises:
        JobError: the job asks for what the cluster doesn't have.
    """

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
        placement=Placement(
            cluster or Cluster(),
            choose_compute(job, cluster),
            60 * job.limits.timeout_minutes + GRACE_SECONDS,
        ),
    )


def _harmless(text: str | None) -> str:
    """A text without `{{`, which KFP would take for a placeholder of its own."""
    return (text or "").replace("{{", "{ {")


def pipeline_name(job: ImageInstanceSegmentationJob) -> str:
    """The job's name as KFP allows it: lower case, digits and hyphens, at most 100 characters."""
    chosen = job.name or job.display_name or job.experiment_name or "instance-segmentation"
    return re.sub(r"[^a-z0-9]+", "-", chosen.lower()).strip("-")[:100] or "instance-segmentation"
