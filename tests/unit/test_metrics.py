"""The COCO numbers are pycocotools' own, and what a trial reports follows its settings."""

import contextlib
import copy
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskline.errors import DataError
from maskline.metrics import (
    COCO_NAMES,
    box_results,
    coco_scores,
    mask_results,
    per_class,
    primary_name,
    primary_score,
)
from maskline.settings import TrainingSettings

CROWD = Path(__file__).resolve().parents[2] / "../shared/data/coco_crowd/annotations.json"
SIZE = 64


def encode(mask: np.ndarray) -> dict[str, Any]:
    found = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def square(x: int, y: int, side: int, size: int = SIZE) -> dict[str, Any]:
    mask = np.zeros((size, size), dtype=np.uint8)
    mask[y : y + side, x : x + side] = 1
    return encode(mask)


def truth(*objects: dict[str, Any], images: int = 2, classes: tuple[str, ...] = ("a", "b")) -> dict[str, Any]:
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": SIZE, "width": SIZE} for i in range(images)],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, start=1)],
        "annotations": [{"id": i, **found} for i, found in enumerate(objects, start=1)],
    }


def labelled(mask: dict[str, Any], category: int = 1, image: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": mask,
        "area": float(rle.area(mask)),
        "bbox": rle.toBbox(mask).tolist(),
        "iscrowd": 0,
        **more,
    }


def detected(mask: dict[str, Any], score: float, category: int = 1, image: int = 0) -> dict[str, Any]:
    box = rle.toBbox(mask).tolist()
    return {
        "image_id": image,
        "category_id": category,
        "segmentation": mask,
        "score": score,
        "bbox": [box[0] - 0.7, box[1] + 0.4, box[2] + 1.1, box[3]],
    }


def reference(ground_truth: dict[str, Any], results: list[dict[str, Any]], kind: str) -> list[float]:
    """pycocotools as its manual says."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = copy.deepcopy(ground_truth)
        coco.createIndex()
        evaluator = COCOeval(coco, coco.loadRes(copy.deepcopy(results)), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(value) for value in evaluator.stats]


@pytest.fixture(scope="module")
def crowd() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Real pictures with crowd regions, and detections made from their masks by moving and losing some."""
    if not CROWD.is_file():
        pytest.skip(f"{CROWD} is not there")
    ground_truth = json.loads(CROWD.read_text())
    for annotation in ground_truth["annotations"][::9]:
        annotation["ignore"] = 1
    random = np.random.default_rng(3)
    index = COCO()
    with contextlib.redirect_stdout(io.StringIO()):
        index.dataset = copy.deepcopy(ground_truth)
        index.createIndex()
    results = []
    for annotation in index.dataset["annotations"]:
        mask = index.annToMask(annotation)
        for _ in range(int(random.integers(0, 4))):
            moved = np.roll(mask, tuple(random.integers(-4, 5, 2)), (0, 1))
            # Rounded scores make many of them equal.
            score = round(float(random.random()), 1)
            results.append(detected(encode(moved), score, annotation["category_id"], annotation["image_id"]))
    return ground_truth, results


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_equal_to_pycocotools_on_crowds(crowd, kind):
    ground_truth, results = crowd
    before = copy.deepcopy((ground_truth, results))
    official = (mask_results if kind == "segm" else box_results)(results)
    scores = coco_scores(ground_truth, results, kind)
    assert tuple(scores) == COCO_NAMES
    assert list(scores.values()) == pytest.approx(reference(ground_truth, official, kind), abs=1e-9)
    assert 0.05 < scores["AP"] < 0.95
    assert (ground_truth, results) == before


def test_masks_are_sized_by_masks_and_not_by_boxes(crowd):
    ground_truth, results = crowd
    wrong = reference(ground_truth, results, "segm")
    right = list(coco_scores(ground_truth, results).values())
    assert right[:3] == pytest.approx(wrong[:3], abs=1e-9)
    assert right[3:6] != pytest.approx(wrong[3:6], abs=1e-6)


def test_boxes_of_masks_stand_in_for_boxes(crowd):
    ground_truth, results = crowd
    bare = mask_results(results)
    assert list(coco_scores(ground_truth, bare, "bbox").values()) == pytest.approx(
        reference(ground_truth, bare, "bbox"), abs=1e-9
    )


def test_classes_average_to_the_summary(crowd):
    ground_truth, results = crowd
    classes = per_class(ground_truth, results)
    scores = coco_scores(ground_truth, results)
    present = {a["category_id"] for a in ground_truth["annotations"] if not a["iscrowd"]}
    assert set(classes) == {c["name"] for c in ground_truth["categories"] if c["id"] in present}
    assert len(classes) < len(ground_truth["categories"])
    for name in ("AP", "AP50"):
        assert np.mean([c[name] for c in classes.values()]) == pytest.approx(scores[name], abs=1e-9)


def test_no_predictions_score_nothing():
    scores = coco_scores(truth(labelled(square(0, 0, 40))), [])
    assert scores["AP"] == scores["AP50"] == scores["AR100"] == scores["AP_medium"] == 0
    assert scores["AP_small"] == scores["AP_large"] == -1


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("predictions", [[], [detected(square(0, 0, 9), 0.9)]])
@pytest.mark.parametrize(
    "objects", [[], [labelled(square(0, 0, 30), iscrowd=1)]], ids=["no objects", "only crowd"]
)
def test_nothing_to_find_is_undefined(objects, predictions, kind):
    assert set(coco_scores(truth(*objects), predictions, kind).values()) == {-1.0}
    assert per_class(truth(*objects), predictions, kind) == {}


def test_no_pictures_are_undefined():
    assert set(coco_scores(truth(images=0), []).values()) == {-1.0}


def test_an_absent_class_stays_out():
    mask = square(3, 3, 20)
    found = [detected(mask, 0.9), detected(mask, 0.99, category=2)]
    assert coco_scores(truth(labelled(mask)), found)["AP"] == pytest.approx(1)
    (numbers,) = per_class(truth(labelled(mask)), found).values()
    # One object of 400 pixels: all twelve numbers but those of other sizes.
    assert numbers == {
        name: pytest.approx(1) for name in COCO_NAMES if not name.endswith(("medium", "large"))
    }


def test_an_object_with_id_zero_counts():
    mask = square(3, 3, 20)
    assert coco_scores(truth(labelled(mask, id=0)), [detected(mask, 0.9)])["AP"] == pytest.approx(1)


def test_polygons_and_plain_run_lengths_are_read():
    polygon = labelled(square(8, 8, 16)) | {"segmentation": [[8, 8, 24, 8, 24, 24, 8, 24]]}
    counts = {"size": [SIZE, SIZE], "counts": [0, SIZE * 10, SIZE * (SIZE - 10)]}
    plain = labelled(square(0, 0, 1), image=1) | {"segmentation": counts, "area": 640.0}
    stripe = np.zeros((SIZE, SIZE))
    stripe[:, :10] = 1
    found = [detected(square(8, 8, 16), 0.8), detected(encode(stripe), 0.7, image=1)]
    assert coco_scores(truth(polygon, plain), found)["AP"] == pytest.approx(1)


def test_silent(capfd):
    coco_scores(truth(labelled(square(0, 0, 9))), [detected(square(0, 0, 9), 0.5)])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 77}, "image_id=77 is not in the ground truth"),
        ({"category_id": 9}, "category_id=9 is not in the ground truth"),
        ({"score": math.nan}, "score=nan is not a number"),
        ({"segmentation": None}, "segmentation is missing"),
        (
            {"segmentation": square(0, 0, 5, size=32)},
            r"mask of size \[32, 32\] on image_id=0 of size \[64, 64\]",
        ),
    ],
)
def test_misfits_are_named(change, words):
    found = [detected(square(0, 0, 9), 0.5), detected(square(0, 0, 9), 0.5) | change]
    with pytest.raises(DataError, match=f"1 of 2 predictions.*prediction 1: {words}"):
        coco_scores(truth(labelled(square(0, 0, 9))), found)


HALF = [detected(square(0, 0, 40), 0.9), detected(square(50, 50, 10), 0.0005)]
TRUTH = truth(labelled(square(0, 0, 36)), labelled(square(50, 50, 10)))
# IoU of the first is 36² / 40² = 0.81: found at 0.50 ... 0.80. The second one's score is too low to count.


@pytest.mark.parametrize(
    ("settings", "name", "score"),
    [
        ({}, "mask_AP50", 51 / 101),
        ({"advanced_settings": {"primary_iou": "0.50:0.95"}}, "mask_AP", 0.7 * 51 / 101),
        ({"validation_metric_type": "voc"}, "voc_mAP", 0.5),
        ({"validation_metric_type": "voc", "validation_iou_threshold": 0.85}, "voc_mAP", 0.0),
        ({"validation_metric_type": "coco_voc"}, "voc_mAP", 0.5),
        ({"validation_metric_type": "none"}, "mask_AP50", 51 / 101),  # which it means once, at the end
        ({"advanced_settings": {"metric_score_threshold": 0.0001}}, "mask_AP50", 1.0),
    ],
)
def test_primary_score(settings, name, score):
    chosen = TrainingSettings.model_validate(settings)
    assert primary_name(chosen) == name
    value, numbers = primary_score(chosen, TRUTH, HALF)
    assert value == numbers[name] == pytest.approx(score, abs=1e-9)


def test_numbers_beside_the_primary_one():
    both = TrainingSettings(validation_metric_type="coco_voc")
    _, numbers = primary_score(both, TRUTH, HALF)
    assert {"mask_AP", "mask_AR100", "voc_mAP", "voc_precision", "voc_recall"} <= set(numbers)
    assert "mask_AP_large" not in numbers
    assert not any(name.startswith("box") for name in numbers)
    _, numbers = primary_score(TrainingSettings(), TRUTH, HALF, boxes=True)
    assert numbers["box_AP50"] == pytest.approx(51 / 101)
    assert "voc_mAP" not in numbers


@pytest.mark.parametrize("kind", ["coco", "voc", "coco_voc"])
def test_undefined_primary_score_is_an_error(kind):
    only_crowd = truth(labelled(square(0, 0, 30), iscrowd=1))
    with pytest.raises(DataError, match="2 pictures hold no object to find .1 crowd regions.*label objects"):
        primary_score(TrainingSettings(validation_metric_type=kind), only_crowd, HALF)
