"""The light image, built and run as a cluster runs it: not as root, read-only, without a network.

Where no registry can be reached, `images/test_base.sh` makes the images that this one is built from.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from containers.engine import TEST_BASES, answers, docker

from maskline.components.data_preparation.component import data_preparation
from maskline.components.trial_selection.component import trial_selection
from maskline.pipelines.cluster_file import RUN_ROOT

pytestmark = pytest.mark.containers

ROOT = Path(__file__).resolve().parents[2]
TAG = "maskline-light:under-test"
# What Pod Security "restricted" asks for, and more; /tmp and the volume of runs are all that can be written.
RESTRICTED = [
    "--read-only", "--network=none", "--cap-drop=ALL", "--security-opt=no-new-privileges",
    "--tmpfs=/tmp:mode=1777", f"--tmpfs={RUN_ROOT}:mode=1777",
]  # fmt: skip
CERTIFICATES = r"find / -xdev -path /proc -prune -o \( -name '*.pem' -o -name '*.crt' \) -type f -print"
PUBLIC = ("/certifi/cacert.pem", "/botocore/cacert.pem", "/grpc/_cython/_credentials/roots.pem")
"""Bundles of public authorities that packages bring along."""
CLASSES = ["disc", "ring"]
PACK = "from maskline.job import load_job; from maskline.stages import pack; print(pack(load_job({!r})))"
MADE_UP = f"""
from pathlib import Path
from optuna.trial import TrialState, create_trial
from maskline import study
run = Path("{RUN_ROOT}/made-up")
sweep = study.open_study(run)
for number, (scores, checkpoint) in enumerate([([0.1, 0.3], b"weak"), ([0.6, 0.5], b"strong")]):
    folder = run / "trials" / str(number)
    folder.mkdir(parents=True)
    (folder / "best.safetensors").write_bytes(checkpoint)
    sweep.add_trial(create_trial(state=TrialState.COMPLETE, value=max(scores),
        intermediate_values=dict(enumerate(scores, 1)), user_attrs={{study.DIRECTORY: str(folder)}}))
sweep.add_trial(create_trial(state=TrialState.FAIL, user_attrs={{study.REASON: "out of memory"}}))
"""


@pytest.fixture(scope="module")
def light(arguments: list[str]) -> str:
    """The image, by its tag; it stays for the cache of the next run."""
    docker("build", *arguments, "--file", str(ROOT / "images/light/Dockerfile"), "--tag", TAG, str(ROOT))
    return TAG


class Container:
    """A running container that commands are sent into."""

    def __init__(self, name: str) -> None:
        self.name = name

    def run(self, *command: str, text: str = "") -> str:
        """Standard output of a command that must succeed."""
        return docker("exec", "--interactive", self.name, *command, text=text)

    def python(self, script: str) -> str:
        """What a script prints."""
        return self.run("python", "-", text=script)

    def stage(self, component: Any, values: dict[str, Any], inputs: Any, outputs: Any) -> dict[str, Any]:
        """Run a component by the command that its pod gets; returns what the launcher would read.

        Texts that `values` doesn't name are empty, as a pipeline's are by default.
        """
        spec = component.component_spec.implementation.container
        texts = [
            name for name, described in component.component_spec.inputs.items() if described.type == "String"
        ]
        values = dict.fromkeys(texts, "") | values
        report = f"/tmp/{component.name}.json"
        told = {
            "inputs": {"parameterValues": values, "artifacts": inputs},
            "outputs": {"artifacts": outputs, "outputFile": report},
        }
        arguments = [json.dumps(told) if word == "{{$}}" else word for word in spec.args]
        self.run(*spec.command, *arguments)
        return json.loads(self.run("cat", report))


def artifact(name: str, kind: str) -> dict[str, Any]:
    """An artifact as the launcher describes it to the executor; its folder is below RUN_ROOT."""
    described = {"name": name, "uri": f"{RUN_ROOT}/{name}", "metadata": {}, "type": {"schemaTitle": kind}}
    return {name: {"artifacts": [described]}}


@pytest.fixture
def container(light: str) -> Iterator[Container]:
    """The image at rest, under all restrictions."""
    name = docker("run", "--detach", *RESTRICTED, light, "sleep", "infinity").strip()
    try:
        yield Container(name)
    finally:
        docker("rm", "--force", name)


def test_it_is_a_user_without_rights(container: Container) -> None:
    assert container.run("id", "-u").strip() == "10001"
    assert container.run("id", "-g").strip() == "10001"
    with pytest.raises(AssertionError, match="Read-only file system|Permission denied"):
        container.run("touch", "/opt/maskline/here")


def test_it_carries_this_version_and_no_torch(container: Container, light: str) -> None:
    labels = json.loads(docker("image", "inspect", "--format", "{{json .Config.Labels}}", light))
    assert labels["org.opencontainers.image.version"] == version("maskline")
    assert container.run("maskline", "--version").strip().endswith(version("maskline"))
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        container.python("import torch")


def test_nothing_of_the_building_machine_is_left(container: Container, light: str) -> None:
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", light))
    names = {line.partition("=")[0] for line in config["Env"]}
    assert not {name for name in names if name.startswith("PIP_") or "CERT" in name or "CA_BUNDLE" in name}
    assert not answers("exec", container.name, "test", "-e", "/build")
    assert not answers("exec", container.name, "test", "-e", "/source")


def test_it_has_no_certificates_but_its_bases(container: Container, light: str, arguments: list[str]) -> None:
    base = TEST_BASES["BASE"] if arguments else declared_base()
    script = f"{CERTIFICATES} | sort | xargs sha256sum"
    own = set(container.run("sh", "-c", script).splitlines())
    inherited = set(docker("run", "--rm", base, "sh", "-c", script).splitlines())
    added = sorted(line.split()[1] for line in own - inherited)
    assert [path for path in added if not path.endswith(PUBLIC)] == []


def declared_base() -> str:
    """The base that the Dockerfile names."""
    lines = (ROOT / "images/light/Dockerfile").read_text(encoding="utf-8").splitlines()
    return next(line.removeprefix("ARG BASE=") for line in lines if line.startswith("ARG BASE="))


def test_data_preparation_runs(container: Container) -> None:
    container.run("maskline", "sample-data", "/tmp/sample")
    values = {
        "job": container.python(PACK.format("/tmp/sample/job.yaml")).strip(),
        "training_data": "/tmp/sample/train",
    }
    outputs = artifact("prepared", "system.Dataset") | artifact("report", "system.HTML")
    told = container.stage(data_preparation, values, {}, outputs)
    described = json.loads(container.run("cat", f"{RUN_ROOT}/prepared/dataset.json"))
    assert described["splits"]["train"]["images"] > described["splits"]["validation"]["images"] > 0
    assert described["classes"]
    assert "<html" in container.run("head", "-c", "200", f"{RUN_ROOT}/report")
    assert told["artifacts"]["prepared"]["artifacts"][0]["metadata"] == {"digest": described["digest"]}


def test_trial_selection_runs(container: Container) -> None:
    container.run("maskline", "sample-data", "/tmp/sample")
    container.python(MADE_UP)
    container.python(
        "from pathlib import Path; from maskline.dataset import PreparedDataset\n"
        f"folder = Path('{RUN_ROOT}/prepared'); folder.mkdir()\n"
        f"PreparedDataset(path=folder, classes={tuple(CLASSES)}, digest='0', splits={{}}).write()"
    )
    values = {
        "job": container.python(PACK.format("/tmp/sample/job.yaml")).strip(),
        "outcomes": [],
        "run_root": RUN_ROOT,
        "run_name": "made-up",
        "run_id": "0",
    }
    outputs = artifact("leaderboard", "system.Artifact") | artifact("model", "system.Model")
    told = container.stage(trial_selection, values, artifact("prepared", "system.Dataset"), outputs)
    assert told["artifacts"]["model"]["artifacts"][0]["metadata"] == {"trial": 1, "score": 0.6}
    assert container.run("cat", f"{RUN_ROOT}/model/checkpoint.safetensors") == "strong"
    assert json.loads(container.run("cat", f"{RUN_ROOT}/model/labels.json")) == CLASSES
    trials = json.loads(container.run("cat", f"{RUN_ROOT}/leaderboard/trials.json"))
    assert {trial["number"]: trial["state"] for trial in trials} == {
        0: "complete",
        1: "complete",
        2: "failed",
    }
    assert container.run("sh", "-c", f"head -c 4 {RUN_ROOT}/leaderboard/leaderboard.png | tail -c 3") == "PNG"
