"""A job's pods run where the cluster file says, and get what it says."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from maskline import Input, automl
from maskline.errors import JobError
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines.choice import choose_compute
from maskline.pipelines.cluster_file import Cluster, read_cluster
from maskline.pipelines.compiler import compile_job, outside
from maskline.pipelines.placement import off_accelerators

SAMPLE = Path(__file__).resolve().parents[3] / "manifests/cluster.yaml"


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return read_cluster(SAMPLE)


def job(**fields: Any) -> ImageInstanceSegmentationJob:
    """A job that needs nothing but what is given."""
    made = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="/data/train"), target_column_name="label"
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def pods(made: ImageInstanceSegmentationJob, cluster: Cluster, folder: Path) -> tuple[Any, Any]:
    """Containers, and what the Kubernetes platform adds to them, by stage."""
    compile_job(made, folder / "pipeline.yaml", cluster)
    ir, platform = yaml.safe_load_all((folder / "pipeline.yaml").read_text())
    plain = {k.removeprefix("exec-"): v["container"] for k, v in ir["deploymentSpec"]["executors"].items()}
    found = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return plain, {name.removeprefix("exec-"): value for name, value in found.items()}


@pytest.mark.parametrize("name", ["gpu-large", "azureml:gpu-large"])
def test_the_job_names_a_compute(name: str, cluster: Cluster) -> None:
    assert choose_compute(job(compute=name), cluster) == cluster.computes["gpu-large"]


def test_a_job_that_names_none_gets_the_default_or_the_only_one(cluster: Cluster) -> None:
    assert choose_compute(job(), cluster) == cluster.computes["gpu-small"]
    only = Cluster(computes={"big": {"accelerator": "nvidia.com/gpu", "cpu": 9}})
    assert choose_compute(job(), only).cpu == "9"
    several = Cluster(computes={"a": {}, "b": {}})
    with pytest.raises(JobError, match="compute is missing and the cluster has several; name one of a, b"):
        choose_compute(job(), several)


def test_without_a_cluster_file_azures_name_means_nothing() -> None:
    assert choose_compute(job(compute="azureml:gpu-cluster"), None).accelerator == "nvidia.com/gpu"


def test_resources_change_what_a_trial_gets(cluster: Cluster) -> None:
    asked = job(
        compute="gpu-large",
        resources={"instance_type": ["unknown", "four-gpus"], "shm_size": "2g", "instance_count": 1},
        queue_settings={"priority": "low"},
    )
    chosen = choose_compute(asked, cluster)
    assert (chosen.accelerator_count, chosen.cpu, chosen.memory) == (4, "32", "256Gi")
    assert (chosen.shared_memory, chosen.priority, chosen.queue) == ("2Gi", "batch", "vision")
    assert chosen.node_selector == {"pool": "gpu-large", "zone": "a"}


@pytest.mark.parametrize(
    ("size", "expected"),
    [("2g", "2Gi"), ("512M", "512Mi"), ("1048576", "1024Ki"), ("64kb", "64Ki"), ("2Gi", "2Gi")],
)
def test_shared_memory_in_dockers_notation(size: str, expected: str, cluster: Cluster) -> None:
    assert choose_compute(job(resources={"shm_size": size}), cluster).shared_memory == expected


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"compute": "gpu-smal"}, "compute=gpu-smal is none of the cluster file's; did you mean gpu-small?"),
        (
            {"resources": {"instance_type": "big"}},
            "instance_type=big is no machine of the compute; legal are none",
        ),
        (
            {"compute": "gpu-large", "resources": {"instance_type": "big"}},
            "instance_type=big is no machine of the compute; legal are four-gpus",
        ),
        ({"resources": {"instance_count": 2}}, "instance_count=2 can't be honoured"),
        ({"resources": {"shm_size": "lots"}}, "resources.shm_size=lots is no size; write 2g or 512m"),
        ({"queue_settings": {"priority": "high"}}, "queue_settings.priority=high is none of the compute's"),
    ],
)
def test_what_the_cluster_does_not_have(fields: Any, problem: str, cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(JobError, match=problem.replace("?", r"\?")):
        compile_job(job(**fields), tmp_path / "pipeline.yaml", cluster)
    assert list(tmp_path.iterdir()) == []


def test_fields_that_the_cluster_file_reads_are_no_longer_unread() -> None:
    asked = job(
        compute="gpu", resources={"instance_type": "x", "docker_args": "y"}, identity={"type": "aml_token"}
    )
    assert asked.unread() == ["compute", "resources", "identity"]
    assert asked.unread(placed=True) == ["identity", "resources.docker_args"]


class TestPods:
    """What stands in the compiled pipeline."""

    def test_the_database_s_address_is_a_secret_of_sweep_and_selection_only(
        self, cluster: Cluster, tmp_path: Path
    ) -> None:
        _, platform = pods(job(), cluster, tmp_path)
        told = {
            stage
            for stage, found in platform.items()
            for secret in found["secretAsEnv"]
            for pair in secret["keyToEnv"]
            if pair == {"envVar": "MASKLINE_STUDY_URL", "secretKey": "url"}
        }
        assert told == {"sweep-trial", "trial-selection"}

    def test_the_job_s_variables_win(self, cluster: Cluster, tmp_path: Path) -> None:
        asked = job(environment_variables={"AWS_ENDPOINT_URL": "https://other"})
        plain, _ = pods(asked, cluster, tmp_path)
        assert all(
            c["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "https://other"}] for c in plain.values()
        )

    def test_two_variables_of_one_key(self, tmp_path: Path) -> None:
        both = Cluster(secrets=[{"name": "s", "env": {"A": "k", "B": "k"}, "path": "/secrets/s"}])
        _, platform = pods(job(), both, tmp_path)
        pairs = [secret["keyToEnv"] for secret in platform["evaluation"]["secretAsEnv"]]
        assert pairs == [[{"secretKey": "k", "envVar": "A"}], [{"secretKey": "k", "envVar": "B"}]]
        assert platform["evaluation"]["secretAsVolume"][0]["mountPath"] == "/secrets/s"

    def test_an_object_store_has_no_claim_and_no_parameter_for_it(self, tmp_path: Path) -> None:
        store = Cluster(run_root="s3://bucket/runs", volumes=[], study={})
        _, platform = pods(job(), store, tmp_path)
        assert not any("pvcMount" in found for found in platform.values())
        ir = next(yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text()))
        parameters = ir["root"]["inputDefinitions"]["parameters"]
        assert "run_volume" not in parameters
        assert parameters["run_root"]["defaultValue"] == "s3://bucket/runs"

    def test_nodes_of_trials_can_be_chosen_for_a_run(self, cluster: Cluster, tmp_path: Path) -> None:
        _, platform = pods(job(), cluster, tmp_path)
        for stage, prefix in (("sweep-trial", "pipelinechannel--"), ("evaluation", "")):
            selector = platform[stage]["nodeSelector"]["nodeSelectorJson"]
            assert selector == {"componentInputParameter": f"{prefix}node_selector"}
            (toleration,) = platform[stage]["tolerations"]
            assert toleration == {"tolerationJson": {"componentInputParameter": f"{prefix}tolerations"}}

    def test_a_pod_that_hangs_is_ended_after_the_job_s_time(self, cluster: Cluster, tmp_path: Path) -> None:
        asked = job()
        asked.set_limits(timeout_minutes=90)
        _, platform = pods(asked, cluster, tmp_path)
        assert platform["sweep-trial"]["activeDeadlineSeconds"] == str(90 * 60 + 3600)

    def test_autoscalers_leave_trials_alone_unless_a_compute_says_otherwise(self, tmp_path: Path) -> None:
        safe = "cluster-autoscaler.kubernetes.io/safe-to-evict"
        for given, found in (({}, "false"), ({safe: "true"}, "true")):
            placed = Cluster(computes={"gpu": {"annotations": given}})
            _, platform = pods(job(), placed, tmp_path)
            assert platform["sweep-trial"]["podMetadata"]["annotations"][safe] == found

    def test_no_pod_may_be_root(self, cluster: Cluster, tmp_path: Path) -> None:
        _, platform = pods(job(), cluster, tmp_path)
        assert all(found["securityContext"] == {"runAsNonRoot": True} for found in platform.values())


def meets(labels: dict[str, str], terms: list[list[dict[str, Any]]]) -> bool:
    """Kubernetes' rule: of one term all must hold; NotIn holds for a label that isn't there."""
    return any(all(labels.get(e["key"]) not in e["values"] for e in term) for term in terms)


@pytest.mark.parametrize(
    ("labels", "allowed"),
    [
        ({}, True),
        ({"pool": "cpu", "zone": "a"}, True),
        ({"pool": "gpu-large", "zone": "b"}, True),
        ({"pool": "gpu-large", "zone": "a"}, False),
        ({"pool": "gpu-small", "zone": "b"}, False),
        ({"pool": "mig"}, False),
        ({"nvidia.com/gpu.present": "true"}, False),
    ],
)
def test_stages_without_accelerator_stay_off_its_nodes(
    labels: dict[str, str], allowed: bool, cluster: Cluster
) -> None:
    assert meets(labels, off_accelerators(cluster)) is allowed


def test_where_nothing_is_accelerated_nothing_is_kept_off(tmp_path: Path) -> None:
    plain = Cluster(computes={"processors": {}})
    containers, platform = pods(job(), plain, tmp_path)
    assert not any("nodeAffinity" in found for found in platform.values())
    assert not any("accelerator" in found["resources"] for found in containers.values())


def test_trials_on_processors_stay_off_accelerators_too(cluster: Cluster, tmp_path: Path) -> None:
    _, platform = pods(job(compute="processors"), cluster, tmp_path)
    assert platform["sweep-trial"]["nodeAffinity"] == platform["data-preparation"]["nodeAffinity"]


def test_data_outside_every_volume_is_told(cluster: Cluster) -> None:
    assert outside(job(), cluster) == []
    assert outside(job(training_data=Input(type="mltable", path="/home/me")), cluster) == ["/home/me"]
    assert outside(job(training_data=Input(type="mltable", path="s3://bucket/train")), cluster) == []


def test_kubernetes_objects_carry_the_same_pipeline(cluster: Cluster, tmp_path: Path) -> None:
    ir = compile_job(job(), tmp_path / "ir.yaml", cluster)
    assert compile_job(job(), tmp_path / "objects.yaml", cluster, kubernetes=True) == ir
    pipeline, version = yaml.safe_load_all((tmp_path / "objects.yaml").read_text())
    assert (pipeline["kind"], version["kind"]) == ("Pipeline", "PipelineVersion")
    assert {one["apiVersion"] for one in (pipeline, version)} == {"pipelines.kubeflow.org/v2beta1"}
    assert {one["metadata"]["namespace"] for one in (pipeline, version)} == {"team-a"}
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"]
    assert version["spec"]["platformSpec"]["platforms"]["kubernetes"]
    # A version is immutable: another content must have another name, the same content the same.
    compile_job(job(compute="gpu-large"), tmp_path / "other.yaml", cluster, kubernetes=True)
    compile_job(job(), tmp_path / "objects.yaml", cluster, kubernetes=True)
    other = list(yaml.safe_load_all((tmp_path / "other.yaml").read_text()))[1]["metadata"]["name"]
    again = list(yaml.safe_load_all((tmp_path / "objects.yaml").read_text()))[1]["metadata"]["name"]
    assert again == version["metadata"]["name"] != other
    assert len(other) <= 63
