"""Verbs about data, as a person meets them."""

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
