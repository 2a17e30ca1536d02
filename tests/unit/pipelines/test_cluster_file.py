"""A cluster file is read in full, and whatever is wrong in it is told by name."""

from pathlib import Path

import pytest

from maskline.errors import JobError
from maskline.pipelines.cluster_file import Cluster, read_cluster
from maskline.pipelines.computes import Compute

SAMPLE = Path(__file__).resolve().parents[3] / "manifests/cluster.yaml"


def problems(text: str, tmp_path: Path) -> list[str]:
    """What is said of a cluster file, without the file's name."""
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(JobError) as caught:
        read_cluster(path)
    assert all(problem.startswith(f"{path}: ") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}: ") for problem in caught.value.problems]


def test_the_sample_is_sound_and_its_numbers_are_texts() -> None:
    cluster = read_cluster(SAMPLE)
    assert cluster.kubeflow.namespace == "team-a"
    assert cluster.cpu.cpu == "2"
    assert cluster.computes["gpu-large"].labels == {"cost-center": "4711"}
    assert cluster.computes["gpu-large"].instance_types["four-gpus"].accelerator_count == 4
    assert cluster.run_volume is not None
    assert cluster.run_volume.claim == "maskline-runs"


def test_without_a_file_there_is_one_compute_with_a_gpu_and_one_volume() -> None:
    cluster = read_cluster(None)
    (compute,) = cluster.computes.values()
    assert (compute.accelerator, compute.accelerator_count) == ("nvidia.com/gpu", 1)
    assert [(volume.claim, volume.path) for volume in cluster.volumes] == [
        ("maskline-runs", "/maskline/runs")
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("compute: {}", "compute is not a known name; did you mean computes?"),
        ("computes: {}", "computes={} is empty; give at least one value"),
        ("computes: {gpu: {memory: 1.5Gi}}", "computes.gpu.memory='1.5Gi' is not legal; give a whole"),
        ("computes: {gpu: {memory: 16}}", "computes.gpu.memory=16 is not legal; give a whole number with"),
        ("computes: {gpu: {cpu: 0}}", "computes.gpu.cpu=0 is not legal; give processors such as 4"),
        ("computes: {gpu: {cpu: true}}", "computes.gpu.cpu=true is not legal; give processors"),
        ("computes: {gpu: {accelerator: a100}}", "gpu.accelerator='a100' is not legal; give a resource"),
        ("computes: {gpu: {accelerator: a/b, accelerator_count: 0}}", "accelerator_count=0 is below 1"),
        ("computes: {gpu: {accelerator: amd.com/gpu}}", "accelerator=amd.com/gpu needs node_selector"),
        ("computes: {cpu: {accelerator_count: 2}}", "accelerator_count needs accelerator"),
        ("computes: {gpu: {priority: high}}", "priority=high is a class of Kueue's; give its queue too"),
        ("computes: {gpu: {tolerations: [{effect: NoSchedul}]}}", "effect='NoSchedul' is not legal; choose"),
        ("computes: {gpu: {tolerations: [{value: x}]}}", "operator Equal needs a key"),
        ("computes: {gpu: {tolerations: [{operator: Exists, value: x}]}}", "operator Exists takes no value"),
        ("computes: {gpu: {node_affinity: [{key: a}]}}", "operator In needs values"),
        ("computes: {gpu: {node_affinity: [{key: a, operator: Exists, values: [b]}]}}", "takes 0 values"),
        ("computes: {gpu: {node_selector: {'a b': c}}}", "which is no label"),
        ("computes: {GPU: {}}", "computes.GPU"),
        ("default_compute: tpu", "default_compute=tpu is no compute: gpu"),
        ("run_root: runs", "run_root='runs' is not legal; give a URI, or a path on a volume"),
        ("run_root: /elsewhere", "run_root=/elsewhere lies on none of the volumes; mount one there"),
        ("run_root: s3://bucket/runs", "run_root=s3://bucket/runs can't hold a study's journal"),
        ("volumes: [{claim: A_B, path: /maskline/runs}]", "volumes[0].claim='A_B' is not legal; give"),
        ("volumes: [{claim: a, path: /maskline/runs}, {claim: b, path: /maskline/runs}]", "is mounted twice"),
        ("secrets: [{name: s}]", "env and path are missing; say how stages read the secret"),
        ("secrets: [{name: s, env: {A-B: k}}]", "name it with letters, digits and _"),
        ("kubeflow: {token: abc}", "kubeflow.token is a secret; set the environment variable"),
        ("kubeflow: {host: kubeflow}", "kubeflow.host='kubeflow' is not legal; give an address"),
        ("images: {registry: 'ghcr.io/m:1'}", "images.registry='ghcr.io/m:1' is not legal; give"),
        ("images: {pull_policy: Sometimes}", "images.pull_policy='Sometimes' is not legal; choose one of"),
        ("environment: {A: '{{x}}'}", "environment.A can't be set"),
        ("- computes", "a cluster file is a mapping of keys to values, and this is a list"),
        ("", "the cluster file is empty"),
        ("a: b: c", "not YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(text: str, problem: str, tmp_path: Path) -> None:
    found = problems(text, tmp_path)
    assert any(problem in line for line in found), found


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    text = "images: {tag: 'a b'}\ncomputes: {gpu: {cpu: x, memory: y}}\nservice_account: A"
    assert len(problems(text, tmp_path)) == 4


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="cluster file .*none.yaml: No such file or directory"):
        read_cluster(tmp_path / "none.yaml")


def test_an_object_store_needs_no_volume(tmp_path: Path) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text("run_root: s3://bucket/runs\nvolumes: []\nstudy: {}\n")
    cluster = read_cluster(path)
    assert cluster.run_volume is None
    assert cluster.study is not None
    assert (cluster.study.secret, cluster.study.key) == ("maskline-study", "url")


def test_a_value_s_error_names_the_field() -> None:
    with pytest.raises(JobError, match="shared_memory='8G B' is not legal"):
        Compute(shared_memory="8G B")
    assert Cluster().computes["gpu"].shared_memory == "8Gi"
