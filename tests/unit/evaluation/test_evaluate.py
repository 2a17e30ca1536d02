"""metrics.json holds the scorers' numbers, and the results files give them again."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskline.components.evaluation.evaluate import evaluate as evaluate_files
from maskline.components.evaluation.evaluate import write_numbers, write_predictions
from maskline.dataset import PreparedDataset
from maskline.metrics import COCO_NAMES
from maskline.settings import TrainingSettings

SETTINGS = TrainingSettings()


def square(x, side):
    mask = np.zeros((80, 120), dtype=np.uint8, order="F")
    mask[10 : 10 + side, x : x + side] = 1
    found = rle.encode(mask)
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def thing(image, category, x, side, **more):
    mask = square(x, side)
    area, box = float(rle.area(mask)), rle.toBbox(mask).tolist()
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": mask,
        "bbox": box,
        "area": area,
    } | more


def found(image, category, x, side, score):
    record = thing(image, category, x, side, score=score)
    del record["area"]
    return record


@pytest.fixture
def dataset(tmp_path):
    objects = [thing(1, 1, 0, 20), thing(1, 1, 40, 30), thing(2, 2, 0, 50), thing(2, 1, 60, 40, iscrowd=1)]
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 80, "width": 120} for i in (1, 2, 3)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(("fig", "date", "pear"), start=1)],
        "annotations": [{"iscrowd": 0, **one, "id": i} for i, one in enumerate(objects, start=1)],
    }
    (tmp_path / "validation.json").write_text(json.dumps(coco))
    return PreparedDataset(
        tmp_path, ("fig", "date", "pear"), "0" * 64, {"validation": {"images": 3, "instances": 4}}
    )


def evaluate(predictions, dataset, split, settings):
    pictures = [[found for found in predictions if found["image_id"] == i] for i in (1, 2, 3)]
    write_predictions(dataset.path / "out", pictures, settings.advanced.metric_score_threshold)
    numbers = evaluate_files(dataset.path / "out", dataset, split, settings).numbers
    write_numbers(dataset.path / "out", numbers)
    return numbers


PREDICTIONS = [
    found(1, 1, 0, 20, 0.9),
    found(1, 1, 44, 30, 0.25),
    found(2, 2, 3, 50, 0.8),
    found(3, 2, 70, 30, 0.7),
    found(3, 1, 0, 9, 0.0001),
]


def test_all_numbers(dataset):
    metrics = json.loads(json.dumps(evaluate(PREDICTIONS, dataset, "validation", SETTINGS), allow_nan=False))
    assert metrics["counts"] == {"images": 3, "objects": 3, "crowd": 1, "predictions": 4, "deployed": 3}
    assert metrics["primary"] == {"name": "mask_AP50", "value": metrics["mask"]["AP50"]}
    assert metrics["mask"]["AP50"] == pytest.approx(1)
    assert tuple(metrics["mask"]) == tuple(metrics["box"]) == COCO_NAMES
    assert metrics["voc"] == pytest.approx({"mAP": 1, "precision": (1 + 0.5) / 2, "recall": 1})
    assert metrics["deployed"] == pytest.approx({"precision": (1 + 0.5) / 2, "recall": (0.5 + 1) / 2})
    assert metrics["classes"]["pear"] == {"objects": 0, "predictions": 0}
    assert metrics["classes"]["fig"]["objects"] == 2
    assert metrics["classes"]["fig"]["recall"] == 0.5
    assert metrics["classes"]["date"]["mask_AP50"] == pytest.approx(1)


@pytest.mark.parametrize(("file", "kind"), [("predictions.json", "segm"), ("predictions_bbox.json", "bbox")])
def test_the_files_give_the_numbers_again(dataset, tmp_path, file, kind):
    evaluate(PREDICTIONS, dataset, "validation", SETTINGS)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(dataset.split_file("validation")))
        evaluator = COCOeval(truth, truth.loadRes(str(tmp_path / "out" / file)), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    numbers = json.loads((tmp_path / "out/metrics.json").read_text())["mask" if kind == "segm" else "box"]
    assert list(numbers.values()) == pytest.approx(evaluator.stats.tolist(), abs=1e-9)


def test_no_predictions(dataset, tmp_path):
    metrics = evaluate([], dataset, "validation", SETTINGS)
    assert metrics["mask"]["AP"] == metrics["primary"]["value"] == 0
    assert metrics["counts"]["predictions"] == 0
    assert (tmp_path / "out/predictions.json").read_text() == "[]\n"


def test_nothing_to_find_leaves_the_primary_score_open(dataset):
    coco = dataset.coco("validation") | {"annotations": []}
    dataset.split_file("validation").write_text(json.dumps(coco))
    metrics = evaluate(PREDICTIONS, dataset, "validation", SETTINGS)
    assert metrics["primary"]["value"] is None
    assert set(metrics["mask"].values()) == {-1}


def test_voc_is_primary_when_asked(dataset):
    settings = TrainingSettings(validation_metric_type="voc", validation_iou_threshold=0.9)
    metrics = evaluate(PREDICTIONS, dataset, "validation", settings)
    assert metrics["primary"] == {"name": "voc_mAP", "value": metrics["voc"]["mAP"]}
    assert metrics["voc"]["mAP"] == pytest.approx((0.5 + 0) / 2)
