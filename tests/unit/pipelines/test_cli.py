"""What a person meets at the command line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from maskline import __version__, load_job
from maskline.pipelines.cli import app, to_install
from maskline.sample_data import write_sample_data

VERBS = (
    "validate",
    "run",
    "compile",
    "new",
    "sample-data",
    "parameters",
    "convert",
    "inspect",
    "augmentations",
)
GOOD = {
    "type": "automl",
    "task": "image_instance_segmentation",
    "training_data": {"type": "mltable", "path": "./data/train"},
    "target_column_name": "label",
    "training_parameters": {"model_name": "maskrcnn_resnet18_fpn_light"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cli")
    write_sample_data(made / "data", pictures=12, size=64)
    return made


def maskline(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("maskline")), *map(str, arguments)]
    environment = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def job_file(folder: Path, **changes: object) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**GOOD, **changes}), encoding="utf-8")
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_help_has_an_example(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert f"Example: maskline {verb}" in shown.output


def test_version() -> None:
    assert maskline("--version").stdout == f"maskline {__version__}\n"


def test_a_valid_job(folder: Path) -> None:
    done = maskline("validate", job_file(folder))
    assert (done.returncode, done.stderr) == (0, "")
    assert "job.yaml is a valid job" in done.stdout


def test_a_job_whose_data_are_elsewhere(folder: Path) -> None:
    data = {"type": "mltable", "path": "azureml://datastores/pics/paths/train"}
    properties = {"azureml://datastores/pics": "s3://bucket/pics"}
    done = maskline("validate", job_file(folder, training_data=data, properties=properties))
    assert done.returncode == 0
    assert "s3://bucket/pics/train is not on this machine; it is looked at when the run" in done.stderr


def test_all_problems_at_once_and_nothing_started(folder: Path) -> None:
    path = job_file(
        folder,
        training_data={"type": "mltable", "path": "./no-such-folder"},
        training_parameters={"model_name": "maskrcnn_resnet19_fpn", "tile_overlap_ratio": 0.5},
        limits={"max_trials": 5},
    )
    for verb in (["validate", path], ["run", path, "--run-dir", folder / "never"]):
        done = maskline(*verb)
        assert done.returncode == 1
        lines = done.stderr.splitlines()
        assert all(line.startswith("error: ") for line in lines)
        for word in ("no-such-folder", "maskrcnn_resnet19_fpn", "tile_overlap_ratio=0.5"):
            assert any(word in line for line in lines), word
        assert "Traceback" not in done.stderr
    assert not (folder / "never").exists()


def test_weights_that_cannot_be_had_are_an_error_before_the_run(folder: Path, tmp_path: Path) -> None:
    path = job_file(
        folder,
        training_parameters={
            "model_name": "maskrcnn_resnet18_fpn_light",
            "advanced_settings": {"pretrained_weights": str(tmp_path / "weights.pth")},
        },
    )
    done = maskline("run", path, "--run-dir", folder / "never")
    assert done.returncode == 1
    assert "weights.pth can't be read" in done.stderr
    assert "none to train from scratch" in done.stderr
    assert not (folder / "never").exists()


def test_a_run_directory_in_use_is_kept(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = maskline("run", job_file(folder), "--run-dir", tmp_path)
    assert done.returncode == 1
    assert f"the run directory {tmp_path} is not empty" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_job_file() -> None:
    done = maskline("validate", "no-such-job.yaml")
    assert done.returncode == 1
    assert "no-such-job.yaml" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_compile(folder: Path, tmp_path: Path) -> None:
    done = maskline("compile", job_file(folder, compute="azureml:gpus"), "-o", tmp_path / "p.yaml")
    assert done.returncode == 0, done.stderr
    assert next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))["pipelineInfo"]["name"]
    assert "note: compute" in done.stderr


@pytest.mark.parametrize("data", ["data/train", "data/train/annotations.jsonl"])
def test_new_writes_a_job_that_is_valid(folder: Path, data: str) -> None:
    path = folder / "new.yaml"
    path.unlink(missing_ok=True)
    done = maskline("new", data, "-o", path, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "9 pictures" in done.stdout or "10 pictures" in done.stdout
    assert maskline("validate", path).returncode == 0
    assert load_job(path).problems() == []
    again = maskline("new", data, "-o", path, cwd=folder)
    assert again.returncode == 1
    assert "exists; choose another file" in again.stderr


def test_new_names_what_it_cannot_read(tmp_path: Path) -> None:
    done = maskline("new", tmp_path, "-o", tmp_path / "job.yaml")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "job.yaml").exists()


def test_sample_data_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    done = maskline("sample-data", tmp_path)
    assert done.returncode == 1
    assert "is not empty" in done.stderr
    assert "Traceback" not in done.stderr


def test_parameters() -> None:
    done = maskline("parameters")
    assert "| `learning_rate` | a number in (0, 1] | `0.005` |" in done.stdout


def test_data_that_only_the_cluster_has(folder: Path, tmp_path: Path) -> None:
    path = job_file(folder, training_data={"type": "mltable", "path": "/maskline/runs/data/train"})
    assert maskline("validate", path).returncode == 1
    assert maskline("validate", path, "--no-data").returncode == 0
    compiled = maskline("compile", path, "-o", tmp_path / "p.yaml")
    assert (compiled.returncode, compiled.stderr) == (0, "")
    here = maskline("compile", job_file(folder), "-o", tmp_path / "p.yaml")
    assert "data/train is read in the cluster, where it is on no volume that is mounted" in here.stderr


def test_places_that_cannot_be_written(folder: Path, tmp_path: Path) -> None:
    path = job_file(folder)
    (tmp_path / "file").write_text("")
    for command in (
        ["compile", path, "-o", tmp_path / "nowhere/p.yaml"],
        ["run", path, "--run-dir", tmp_path / "file/run"],
    ):
        done = maskline(*command)
        assert done.returncode == 1
        assert done.stderr.startswith("error: ")
        assert "Traceback" not in done.stderr


def test_new_takes_any_spelling_of_a_path_and_refuses_what_has_no_labels(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "here").mkdir()
    data = Path("..") / os.path.relpath(folder / "data/train", tmp_path)
    done = maskline("new", data, "-o", "job.yaml", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    assert " 0 pictures" not in done.stdout
    assert load_job(tmp_path / "here/job.yaml").problems() == []
    (tmp_path / "empty.json").write_text('{"images": [], "annotations": [], "categories": []}')
    done = maskline("new", tmp_path / "empty.json", "-o", tmp_path / "empty.yaml")
    assert done.returncode == 1
    assert "no labelled picture" in done.stderr or "no image" in done.stderr.lower()
    assert not (tmp_path / "empty.yaml").exists()


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("yaml", "maskline"),
        ("optuna.storages", "maskline"),
        ("torch", "maskline[train]"),
        ("hotcoco", "maskline[light]"),
        ("starlette", "maskline[serve]"),
        ("maskline.gone", None),
        ("unheard_of", None),
    ],
)
def test_what_is_missing_is_named_with_its_extra(module: str, package: str | None) -> None:
    assert to_install(module) == package


def test_a_missing_package_is_one_line(folder: Path) -> None:
    code = "import sys; sys.modules['yaml'] = None; from maskline.pipelines.cli import main; main()"
    command = [sys.executable, "-c", code, "validate", str(job_file(folder))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "error: yaml is not installed; pip install 'maskline'\n"
