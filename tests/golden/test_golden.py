"""The compiled pipelines of the example jobs; a difference is to be read, then kept with `make golden`."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes.kubernetes_executor_config_pb2 import KubernetesExecutorConfig
from kfp.pipeline_spec.pipeline_spec_pb2 import PipelineSpec

from maskline import __version__, load_job
from maskline.pipelines.cluster_file import read_cluster
from maskline.pipelines.compiler import compile_job

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
JOBS = {"readme": ROOT / "tests/jobs/readme.yaml", "sample": ROOT / "pipelines/sample_job.yaml"}
CLUSTER = ROOT / "manifests/cluster.yaml"
COMPUTES: dict[str, dict[str, Any]] = {
    "gpu-small": {},
    "gpu-large": {"resources": {"instance_type": "four-gpus"}, "queue_settings": {"priority": "high"}},
    "mig-slice": {"resources": {"shm_size": "1g"}},
    "processors": {},
}


def same_as_before(name: str, documents: list[Any], request: pytest.FixtureRequest) -> None:
    """Compare with the golden file, or write it."""
    golden = HERE / f"{name}.yaml"
    if request.config.getoption("--write-golden"):
        golden.write_text(yaml.safe_dump_all(documents, sort_keys=True), encoding="utf-8")
    assert documents == list(yaml.safe_load_all(golden.read_text(encoding="utf-8")))


def compiled(path: Path) -> list[Any]:
    """The documents of a pipeline file, without what is another on every machine and in every version."""
    text = path.read_text(encoding="utf-8").replace(__version__, "VERSION").replace(str(ROOT), "ROOT")
    documents = list(yaml.safe_load_all(text))
    documents[0]["sdkVersion"] = "kfp"
    kfp_knows_every_field(*documents)
    return documents


def kfp_knows_every_field(ir: Any, platform: Any) -> None:
    """Raise on a field that KFP's own messages don't have, or of another type."""
    json_format.ParseDict(ir, PipelineSpec())
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(executor, KubernetesExecutorConfig())


@pytest.mark.parametrize("name", JOBS)
def test_compiled_as_before(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    compile_job(load_job(JOBS[name]), tmp_path / "pipeline.yaml")
    same_as_before(name, compiled(tmp_path / "pipeline.yaml"), request)


def test_every_compute_has_a_golden_file() -> None:
    assert set(COMPUTES) == set(read_cluster(CLUSTER).computes)


@pytest.mark.parametrize("name", COMPUTES)
def test_placed_as_before(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    job = load_job(JOBS["readme"])
    job.compute = f"azureml:{name}"
    for field, value in COMPUTES[name].items():
        setattr(job, field, value)
    compile_job(job, tmp_path / "pipeline.yaml", read_cluster(CLUSTER))
    ir, platform = compiled(tmp_path / "pipeline.yaml")
    # Of the pipeline itself only what a cluster file changes: the rest is the other golden files'.
    executors = ir["deploymentSpec"]["executors"]
    parameters = ir["root"]["inputDefinitions"]["parameters"]
    shown = {
        "parameters": {key: parameters[key]["defaultValue"] for key in sorted(parameters) if key != "job"},
        "containers": {
            key: {part: one["container"].get(part) for part in ("image", "resources", "env")}
            for key, one in executors.items()
        },
    }
    same_as_before(f"compute-{name}", [shown, platform], request)
