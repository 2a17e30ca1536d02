"""README is true: its table is the code's, its jobs are files that load, its commands run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from maskline import load_job
from maskline.pipelines.azure_defaults import azure_table
from maskline.pipelines.knobs import knob_table

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TEXT = README.read_text(encoding="utf-8")
TABLES = {"knobs": knob_table, "azure": azure_table}
# `maskline run` with a real sweep is the demo's, and the local tests'.
SHORT = {"number_of_epochs: 4": "number_of_epochs: 1", "max_trials: 3": "max_trials: 1"}


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    return [
        shlex.split(line, comments=True) for block in blocks for line in block.splitlines() if line.strip()
    ]


def test_the_tables_of_parameters_are_the_codes(request: pytest.FixtureRequest) -> None:
    renewed = TEXT
    for name, table in TABLES.items():
        begins, ends = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, rest = renewed.split(begins)
        renewed = before + begins + table() + ends + rest.split(ends)[1]
    if request.config.getoption("--write-readme"):
        README.write_text(renewed, encoding="utf-8")
    assert README.read_text(encoding="utf-8") == renewed


@pytest.mark.parametrize(("file", "language"), [("readme.yaml", "yaml"), ("readme.py", "python")])
def test_examples_are_files(file: str, language: str) -> None:
    (shown,) = re.findall(rf"<!-- tests/jobs/{re.escape(file)} -->\n```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert shown == (ROOT / "tests/jobs" / file).read_text(encoding="utf-8")
    assert len(shown.splitlines()) <= 14


def test_both_examples_are_one_job(tmp_path: Path) -> None:
    script = (ROOT / "tests/jobs/readme.py").read_text(encoding="utf-8")
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    assert load_job(tmp_path / "job.yaml") == load_job(ROOT / "tests/jobs/readme.yaml")


def test_make_verbs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for verb in {command[1] for command in commands() if command[0] == "make"} | {"check", "bench"}:
        assert re.search(rf"^{verb}:", makefile, re.MULTILINE), verb


@pytest.mark.local
def test_every_command_runs(tmp_path: Path) -> None:
    """In the order in which README gives them, in one folder; the job is made short before it is run."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    ran = set()
    for command in commands():
        if command[0] != "maskline":
            continue
        if command[1] == "run":
            job = (
                (tmp_path / "demo/job.yaml").read_text(encoding="utf-8").replace("path: ./", "path: ./demo/")
            )
            for old, new in SHORT.items():
                assert old in job
                job = job.replace(old, new)
            (tmp_path / "job.yaml").write_text(job, encoding="utf-8")
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        ran.add(command[1])
    assert ran == {
        "sample-data",
        "new",
        "validate",
        "augmentations",
        "compile",
        "run",
        "parameters",
        "convert",
        "inspect",
        "predict",
    }
    for file in (
        "report.html",
        "data_report.html",
        "data_report.json",
        "model.onnx",
        "best_model/MLmodel",
        "leaderboard.csv",
        "metrics.json",
        "parity.json",
        "predictions.json",
    ):
        assert (tmp_path / "runs/first" / file).stat().st_size > 0


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
