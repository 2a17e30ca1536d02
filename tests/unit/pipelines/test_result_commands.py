"""The numbers of any predictions at the command line."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from coco_cases import data
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from maskline.metrics import COCO_NAMES
from maskline.pipelines.cli import app


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ground truth with pictures that nobody looked at, and predictions of masks and of boxes."""
    folder = tmp_path_factory.mktemp("evaluate")
    truth, found = data(3, first=40, gap=7)
    masks = [{key: value for key, value in one.items() if key != "bbox"} for one in found]
    boxes = [{key: value for key, value in one.items() if key != "segmentation"} for one in found]
    ids = [image["id"] for image in truth["images"]][:9]
    for name, content in (("truth", truth), ("segm", masks), ("bbox", boxes), ("ids", ids)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def published(folder: Path, kind: str) -> list[float]:
    """What pycocotools' own manual way prints, in full precision."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluator = COCOeval(truth, truth.loadRes(str(folder / f"{kind}.json")), kind)
        evaluator.params.imgIds = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_the_published_numbers(files: Path, kind: str, engine: str) -> None:
    arguments = [str(files / "truth.json"), str(files / f"{kind}.json"), "--iou-type", kind]
    more = ["--image-ids", str(files / "ids.json"), "--engine", engine]
    shown = CliRunner().invoke(app, ["evaluate", *arguments, *more])
    assert shown.exit_code == 0, shown.output
    told = [line.split() for line in shown.output.splitlines()]
    assert tuple(name for name, _ in told) == COCO_NAMES
    assert [float(value) for _, value in told] == published(files, kind)


@pytest.mark.parametrize("text", ["{}", "[1.5]", "[true]", "no", '["1"]'])
def test_ids_that_are_none(files: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "ids.json").write_text(text, encoding="utf-8")
    arguments = [
        str(files / "truth.json"),
        str(files / "segm.json"),
        "--image-ids",
        str(tmp_path / "ids.json"),
    ]
    shown = CliRunner().invoke(app, ["evaluate", *arguments])
    assert shown.exit_code != 0
    assert "give a JSON list of ids of pictures" in str(shown.exception)
