"""hotcoco against pycocotools, on data of every kind: the same arrays, to the last bit."""

import contextlib
import copy
import io
import json

import numpy as np
import pytest
from coco_cases import CASES, HEIGHT, WIDTH, data
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskline.coco_forms import box_results, mask_results
from maskline.coco_reference import coco_arrays
from maskline.errors import DataError
from maskline.metrics import COCO_NAMES, coco_evaluation, coco_scores
from maskline.scoring import Scoring
from maskline.verdicts import HIT, IGNORED


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("case", CASES)
def test_the_same_arrays(case, kind):
    truth, found = CASES[case]
    ours, theirs = Scoring(truth, found).coco(kind), coco_arrays(truth, found, kind)
    assert np.array_equal(ours.precision, theirs.precision)
    assert np.array_equal(ours.recall, theirs.recall)


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("case", [name for name, (truth, found) in CASES.items() if found])
def test_the_summary_of_pycocotools_itself(case, kind):
    truth, found = CASES[case]
    results = (mask_results if kind == "segm" else box_results)(copy.deepcopy(found))
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = copy.deepcopy(truth)
        index.createIndex()
        evaluator = COCOeval(index, index.loadRes(results), kind)
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    # The same twelve numbers, not only nearly so.
    if not any(a["id"] == 0 for a in truth["annotations"]):
        assert list(coco_scores(truth, found, kind).values()) == evaluator.stats.tolist()
    precision = evaluator.eval["precision"]
    classes = coco_evaluation(truth, found, kind).classes
    for place, category in enumerate(truth["categories"]):
        numbers = precision[:, :, place, 0, 2]
        expected = float(np.mean(numbers[numbers > -1])) if (numbers > -1).any() else None
        assert classes.get(category["name"], {}).get("AP") == expected


@pytest.mark.parametrize("kind", ["segm", "bbox"])
def test_some_pictures_only(kind):
    truth, found = data(21, first=7, gap=3)
    images = [image["id"] for image in truth["images"]][::2]
    ours = Scoring(truth, found, images).coco(kind)
    theirs = coco_arrays(truth, found, kind, images)
    assert np.array_equal(ours.precision, theirs.precision)
    assert np.array_equal(ours.recall, theirs.recall)
    assert coco_scores(truth, found, kind, images=images) != coco_scores(truth, found, kind)
    with pytest.raises(DataError, match="image_id=8 is not in the ground truth"):
        Scoring(truth, found, [8])


@pytest.mark.parametrize("kind", ["segm", "bbox"])
@pytest.mark.parametrize("boxed", [True, False])
def test_files_say_the_same(tmp_path, kind, boxed):
    truth, found = data(3, first=1)
    if not boxed:
        found = mask_results(found)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps(found))
    files = tmp_path / "truth.json", tmp_path / "found.json"
    for engine in ("hotcoco", "pycocotools"):
        assert coco_scores(*files, kind, engine=engine) == coco_scores(truth, found, kind)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"image_id": 999}, "image_id=999 is not in the ground truth"),
        ({"category_id": 999}, "category_id=999 is not in the ground truth"),
        ({"segmentation": {"size": [3, 3], "counts": "9"}}, r"mask of size \[3, 3\]"),
    ],
)
def test_files_are_checked(tmp_path, change, words):
    truth, found = data(3, first=1)
    (tmp_path / "found.json").write_text(json.dumps([*found[:7], found[7] | change]))
    with pytest.raises(DataError, match=f"prediction 7: {words}"):
        Scoring(truth, tmp_path / "found.json")


def test_files_with_boxes_in_some_records(tmp_path):
    truth, found = data(3, first=1)
    (tmp_path / "found.json").write_text(json.dumps([*mask_results(found[:7]), *found[7:]]))
    with pytest.raises(DataError, match=f"has a bbox in {len(found) - 7} of its {len(found)} records"):
        Scoring(truth, tmp_path / "found.json")


def test_an_empty_list_of_pictures_is_not_all():
    with pytest.raises(DataError, match="no picture is to count"):
        Scoring(*data(3), [])


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_a_ground_truth_without_classes(engine):
    truth = data(3)[0] | {"annotations": [], "categories": []}
    assert set(coco_scores(truth, [], engine=engine).values()) == {-1}


@pytest.mark.parametrize("engine", ["hotcoco", "pycocotools"])
def test_run_lengths_of_both_forms(engine):
    truth, found = data(3, first=1)
    plain = []
    for one in found:
        ends = np.flatnonzero(np.diff(rle.decode(one["segmentation"]).ravel(order="F"), prepend=0)).tolist()
        counts = np.diff([0, *ends, HEIGHT * WIDTH]).tolist()
        plain.append(one | {"segmentation": {"size": [HEIGHT, WIDTH], "counts": counts}})
    assert coco_scores(truth, plain, engine=engine) == coco_scores(truth, found)


@pytest.mark.parametrize("text", ["", "{", "[{}]", '[{"image_id": 1}]', '{"a": 1}'])
def test_files_that_are_no_results(tmp_path, text):
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(DataError):
        Scoring(data(3, first=1)[0], tmp_path / "found.json")


def test_masks_are_asked_for_where_they_are_judged():
    truth, found = data(3, first=1)
    boxes = [{key: value for key, value in one.items() if key != "segmentation"} for one in found]
    assert coco_scores(truth, boxes, "bbox") == coco_scores(truth, found, "bbox")
    for engine in ("hotcoco", "pycocotools"):
        with pytest.raises(DataError, match="prediction 0: segmentation is missing"):
            coco_scores(truth, boxes, engine=engine)


def test_polygons_are_drawn_alike():
    random = np.random.default_rng(0)
    from hotcoco import mask as theirs

    for _ in range(300):
        points = random.uniform(-5, 75, (int(random.integers(3, 9)), 2))
        polygons = [(np.round(points * 2) / 2 if random.random() < 0.5 else points).ravel().tolist()]
        assert (
            theirs.merge(theirs.frPyObjects(polygons, 60, 70))["counts"]
            == rle.merge(rle.frPyObjects(polygons, 60, 70))["counts"]
        )


@pytest.mark.parametrize("seed", range(4))
def test_verdicts_are_those_of_pycocotools(seed):
    truth, found = data(seed, first=1)
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = copy.deepcopy(truth)
        index.createIndex()
        evaluator = COCOeval(index, index.loadRes(mask_results(copy.deepcopy(found))), "segm")
        evaluator.evaluate()
    expected = {}
    for one in evaluator.evalImgs:
        if one is not None and one["aRng"] == evaluator.params.areaRng[0]:
            for place, number in enumerate(one["dtIds"]):
                ignored, match = one["dtIgnore"][0, place], one["dtMatches"][0, place]
                expected[number - 1] = (IGNORED, 0) if ignored else (HIT, int(match)) if match else (0, 0)
    scoring = Scoring(truth, found)
    verdicts = scoring.verdicts(0.5)
    numbers = {place: a["id"] for place, a in enumerate(truth["annotations"], start=1)}
    ours = [
        (verdict, numbers[match] if match else 0)
        for verdict, match in zip(verdicts.verdict.tolist(), verdicts.found.tolist(), strict=True)
    ]
    assert ours == [expected[place] for place in range(len(found))]
    # Kept in passing, they are the same.
    scoring = Scoring(truth, found)
    scoring.coco("segm", iou_threshold=0.5)
    assert np.array_equal(scoring.verdicts(0.5).verdict, verdicts.verdict)


def test_the_names_are_twelve():
    assert len(COCO_NAMES) == 12
