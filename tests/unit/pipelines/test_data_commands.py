"""Verbs about data, as a person meets them."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from maskline.errors import DataError
from maskline.pipelines.cli import app
from maskline.sample_data import write_sample_data

WIDE = {"COLUMNS": "200"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("data_commands")
    write_sample_data(made / "data", pictures=12, size=64)
    return made / "data"


def test_convert_says_what_was_written(folder: Path, tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["convert", str(folder / "train"), str(tmp_path / "new"), "--to", "yolo"])
    assert shown.exit_code == 0
    assert f"are in {tmp_path / 'new'}, as yolo" in shown.output
    assert (tmp_path / "new/data.yaml").is_file()


def test_convert_refuses_a_folder_in_use(folder: Path) -> None:
    arguments = ["convert", str(folder / "train"), str(folder), "--to", "coco"]
    done = CliRunner().invoke(app, arguments)
    assert isinstance(done.exception, DataError)
    assert "not empty" in str(done.exception)


def test_inspect_shows_what_the_data_hold(folder: Path, tmp_path: Path) -> None:
    arguments = ["inspect", str(folder / "train"), "-o", str(tmp_path / "report.html")]
    shown = CliRunner().invoke(app, arguments, env=WIDE)
    assert shown.exit_code == 0
    assert "validation" in shown.output
    assert "ready to train on" in shown.output
    assert (tmp_path / "report.html").is_file()


def test_inspect_of_data_that_cannot_be_trained_on_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image_url": "missing.png", "label": []}\n')
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path)], env=WIDE)
    assert shown.exit_code == 1
    assert "missing_picture" in shown.output
    assert "not fit to train on" in shown.output


def test_datastores_are_told_where_they_lie(folder: Path, tmp_path: Path) -> None:
    """As a job's properties do; without it the message says so."""
    arguments = ["convert", str(folder / "train"), str(tmp_path / "new"), "--to", "azure"]
    url = "azureml://datastores/mine/paths/new"
    assert CliRunner().invoke(app, [*arguments, "--image-url", url]).exit_code == 0
    lines = str(tmp_path / "new")
    assert CliRunner().invoke(app, ["inspect", lines], env=WIDE).exit_code == 1
    shown = CliRunner().invoke(app, ["inspect", lines, "--datastore", f"mine={tmp_path}"], env=WIDE)
    assert shown.exit_code == 0, shown.output
    assert "no findings" in shown.output
    wrong = CliRunner().invoke(app, ["inspect", lines, "--datastore", "mine"])
    assert "--datastore mine must read NAME=URI" in str(wrong.exception)


def test_names_from_outside_do_nothing_to_a_terminal(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "train", tmp_path / "data")
    file = tmp_path / "data" / "annotations.jsonl"
    file.write_text(file.read_text().replace('"disc"', r'"[red]\u001b[31mdisc\u0007"'))
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "data")], env=WIDE)
    assert "[red]\N{REPLACEMENT CHARACTER}[31mdisc\N{REPLACEMENT CHARACTER}" in shown.output
    assert "\x1b[31m" not in shown.output
    assert "\x07" not in shown.output
