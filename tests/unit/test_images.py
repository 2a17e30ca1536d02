"""What the Dockerfiles must keep, checked without Docker."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from maskline import images
from maskline.components.data_preparation.component import data_preparation
from maskline.components.data_snapshot.component import data_snapshot
from maskline.components.evaluation.component import evaluation
from maskline.components.onnx_export.component import onnx_export
from maskline.components.sweep_trial.component import sweep_trial
from maskline.components.trial_selection.component import trial_selection

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = {"light": "light", "server": "serve", "trainer": "train"}
DOORS = (data_snapshot, data_preparation, evaluation, onnx_export, sweep_trial, trial_selection)
Stage = list[tuple[str, str]]


def instructions(name: str) -> Stage:
    """Every instruction of a Dockerfile: its word and the rest of it, on one line."""
    text = (ROOT / "images" / name / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined]


def final_stage(name: str) -> Stage:
    """The instructions after the last FROM."""
    found = instructions(name)
    last = max(place for place, (word, _) in enumerate(found) if word == "FROM")
    return found[last + 1 :]


def values(stage: Stage, word: str) -> list[str]:
    """What follows a word, each time it is used."""
    return [rest for used, rest in stage if used == word]


def test_every_image_has_a_folder_and_every_folder_is_an_image() -> None:
    folders = {path.parent.name for path in (ROOT / "images").glob("*/Dockerfile")}
    named = {
        re.fullmatch(r".+/maskline-(\w+):.+", image)[1]  # type: ignore[index]
        for image in (images.LIGHT, images.SERVER, images.TRAINER)
    }
    assert folders == named == set(EXTRAS)


@pytest.mark.parametrize("name", EXTRAS)
class TestDockerfile:
    """Each of them."""

    def test_the_version_is_the_project_s(self, name: str) -> None:
        declared = [rest for rest in values(instructions(name), "ARG") if rest.startswith("VERSION=")]
        assert set(declared) == {f"VERSION={PROJECT['version']}"}
        text = (ROOT / "images" / name / "Dockerfile").read_text(encoding="utf-8")
        assert f"--tag ghcr.io/maskline/maskline-{name}:{PROJECT['version']} ." in text

    def test_every_base_is_a_build_argument_or_an_earlier_stage(self, name: str) -> None:
        froms = values(instructions(name), "FROM")
        stages = {found[1] for line in froms if (found := re.search(r" AS (\w+)$", line))}
        assert {line.split()[0] for line in froms} <= {"$BASE", "$BUILDER"} | stages
        assert froms[-1] == "$BASE"

    def test_the_user_is_a_number_and_not_root(self, name: str) -> None:
        users = values(final_stage(name), "USER")
        assert len(users) == 1
        assert all(int(part) > 0 for part in users[0].split(":"))

    def test_the_final_stage_only_takes_what_was_installed(self, name: str) -> None:
        stage = final_stage(name)
        assert not values(stage, "RUN")
        assert not values(stage, "ADD")
        sources = [
            [word for word in line.split() if not word.startswith("--")][0] for line in values(stage, "COPY")
        ]
        assert all("--from=" in line for line in values(stage, "COPY"))
        assert all(source.startswith(("/opt/", "/installed/opt/")) for source in sources)

    def test_pip_s_settings_stay_in_the_build_stages(self, name: str) -> None:
        declared = " ".join(rest for word, rest in final_stage(name) if word in ("ARG", "ENV"))
        assert not re.search(r"PIP_|CERT|CA_BUNDLE|PROXY|TOKEN|INDEX", declared)
        assert "PIP_INDEX_URL" in values(instructions(name), "ARG")

    def test_only_tmp_is_written(self, name: str) -> None:
        environment = " ".join(values(final_stage(name), "ENV"))
        settings = dict(pair.split("=", 1) for pair in environment.split())
        assert settings["HOME"] == settings["TMPDIR"] == "/tmp"
        if name != "server":  # which has no matplotlib
            assert settings["MPLCONFIGDIR"].startswith("/tmp/")
        assert settings["PYTHONDONTWRITEBYTECODE"] == "1"

    def test_it_installs_its_extra(self, name: str) -> None:
        text = " ".join(values(instructions(name), "RUN"))
        if name == "server":  # models come from a folder, so that it needs no store
            assert '["optional-dependencies"]["serve"]' in text
            return
        (extras,) = re.findall(r"for e in \(([^)]*)\)", text)
        own = [EXTRAS[name], "rfdetr"] if name == "trainer" else [EXTRAS[name]]
        assert re.findall(r'"(\w+)"', extras) == [*own, "postgres", "s3", "gcs", "azure", "http"]
        assert EXTRAS[name] in PROJECT["optional-dependencies"]

    def test_the_labels_name_it(self, name: str) -> None:
        labels = " ".join(values(final_stage(name), "LABEL"))
        assert f'org.opencontainers.image.title="maskline-{name}"' in labels
        assert 'org.opencontainers.image.version="$VERSION"' in labels
        assert f'org.opencontainers.image.licenses="{PROJECT["license"]}"' in labels


def test_the_light_extra_is_a_part_of_the_training_extra() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras["light"]) < set(extras["train"])


def imports_of(door: Any) -> list[str]:
    """Modules of Maskline that a component's body imports."""
    source = Path(sys.modules[door.python_func.__module__].__file__ or "").read_text(encoding="utf-8")
    nodes = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom))
    return [node.module for node in nodes if node.module and node.module.startswith("maskline")]


def test_stages_in_the_light_image_import_nothing_that_it_lacks() -> None:
    light = [door for door in DOORS if door.component_spec.implementation.container.image == images.LIGHT]
    assert [door.name for door in light] == ["data-snapshot", "data-preparation", "trial-selection"]
    wanted = ", ".join(module for door in light for module in imports_of(door))
    lacking = "{'torch', 'torchvision', 'onnx', 'onnxruntime', 'safetensors'}"
    script = f"import sys, {wanted}; print(*sorted(sys.modules.keys() & {lacking}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_build_context_is_what_the_wheel_needs() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    assert rules[0] == "*"
    assert allowed == {"pyproject.toml", "README.md", "LICENSE", "maskline", "components", "pipelines"}
    assert all((ROOT / name).exists() for name in allowed)
