"""Two runs side by side, and a report made again."""

import json

import pytest
from PIL import Image

from maskline.artifacts import TrialRecord
from maskline.components.evaluation.compare import compare, write_comparison
from maskline.components.evaluation.evaluate import write_predictions
from maskline.components.evaluation.measure import rebuild, write_background
from maskline.dataset import PreparedDataset
from maskline.errors import DataError

HOSTILE = "<script>alert(1)</script>"


def thing(image, category, x, **more):
    # A square of 20 x 20 at (x, 10) of a 60 x 80 picture, as plain run lengths: columns first.
    counts = [x * 60 + 10, *([20, 40] * 19), 20]
    counts.append(60 * 80 - sum(counts))
    place = {"image_id": image, "category_id": category, "bbox": [x, 10, 20, 20]}
    return place | {"segmentation": {"size": [60, 80], "counts": counts}, **more}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    images, objects = [], []
    for number in range(1, 25):
        Image.new("RGB", (80, 60), (number, 90, 60)).save(folder / f"{number}.png")
        images.append({"id": number, "file_name": f"{number}.png", "height": 60, "width": 80})
        for category, x in ((1, 5), (2, 50)):
            objects.append(thing(number, category, x, id=len(objects) + 1, area=400.0, iscrowd=0))
    categories = [{"id": 1, "name": HOSTILE}, {"id": 2, "name": "pear"}]
    coco = {"images": images, "annotations": objects, "categories": categories}
    for split in ("train", "validation"):
        (folder / f"{split}.json").write_text(json.dumps(coco))
    counts = {"images": 24, "instances": 48}
    splits = {"train": counts, "validation": counts}
    PreparedDataset(folder, (HOSTILE, "pear"), "ab" * 32, splits, 7, {}).write()
    return folder


def run(folder, prepared, lost, settings):
    """A run whose model misses every `lost`-th object and finds something wrong there."""
    pictures = [
        [thing(i, c, x if (2 * i + c) % lost else 28, score=0.9 - i / 100) for c, x in ((1, 5), (2, 50))]
        for i in range(1, 25)
    ]
    for picture in pictures:
        for found in picture:
            found["segmentation"] = compressed(found["segmentation"])
    write_predictions(folder, pictures, 0.001)
    trial = TrialRecord(0, "complete", 0.5, 1, {}, 1, 1, 5.0, curve=((1, 0.5),))
    job = {"display_name": HOSTILE, "environment_variables": {"TOKEN": "top-secret"}}
    write_background(folder, job, prepared, settings, [trial.to_json()], {})
    return folder


def compressed(mask):
    from pycocotools import mask as rle

    found = rle.frPyObjects(mask, *mask["size"])
    return {"size": mask["size"], "counts": found["counts"].decode()}


@pytest.fixture(scope="module")
def runs(prepared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    base = {"model_name": "maskrcnn_resnet18_fpn_light", "learning_rate": 0.01}
    return (
        run(folder / "good<b>", prepared, 11, base),
        run(folder / "bad", prepared, 2, base | {"learning_rate": 0.02}),
    )


def test_the_better_run_is_named(runs, tmp_path):
    good, bad = runs
    found = compare(bad, good)
    assert 0 < found.low < found.high
    assert found.verdict.startswith(f"{good} is better: the 95% interval")
    assert [row[:3] for row in found.settings.rows] == [["learning_rate", "0.02", "0.01"]]
    assert compare(good, bad).high == pytest.approx(-found.low)
    write_comparison(tmp_path / "out.html", found)
    html = (tmp_path / "out.html").read_text()
    assert HOSTILE not in html
    assert "good<b>" not in html
    assert found.verdict.split(" is better")[1][:20] in html


def test_a_run_is_no_better_than_itself(runs):
    found = compare(runs[0], runs[0])
    assert (found.low, found.high) == (0, 0)
    assert found.verdict.startswith("Neither is clearly better")
    assert found.settings.note == "All settings are the same."


def test_other_data_are_not_compared(runs, prepared, tmp_path):
    other = tmp_path / "prepared"
    other.mkdir()
    for file in prepared.iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    told = json.loads((other / "dataset.json").read_text())
    (other / "dataset.json").write_text(json.dumps(told | {"digest": "cd" * 32}))
    found = compare(runs[0], run(tmp_path / "run", other, 5, {}))
    assert found.low is None
    assert "measured by different data" in found.verdict


def test_a_report_is_made_again(runs, tmp_path):
    numbers = rebuild(runs[0], tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text()
    assert HOSTILE not in html
    assert "top-secret" not in html
    assert "top-secret" not in (runs[0] / "evaluation.json").read_text()
    assert json.loads((runs[0] / "metrics.json").read_text()) == json.loads(json.dumps(numbers))


def test_a_folder_without_an_evaluation_is_told(tmp_path):
    with pytest.raises(DataError, match="holds no evaluation.json; name the directory of a run"):
        rebuild(tmp_path, tmp_path / "report.html")
