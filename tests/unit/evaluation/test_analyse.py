"""Where a model is wrong, on cases worked by hand: runs of pixels in a row, so IoUs are ratios of lengths."""

import numpy as np
import pytest
from pycocotools import mask as rle

from maskline.components.evaluation.analyse import analyse
from maskline.components.evaluation.confusion import matrix
from maskline.components.evaluation.thin import thin
from maskline.rle import encode
from maskline.scoring import Scoring
from maskline.settings import TrainingSettings
from maskline.verdicts import calibration, curve

CAT, DOG = 1, 2


def run(start, length):
    mask = np.zeros((10, 100), dtype=np.uint8, order="F")
    mask[4, start : start + length] = 1
    found = rle.encode(mask)
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def thing(start, length, category=CAT, image=1, **more):
    return {"image_id": image, "category_id": category, "segmentation": run(start, length), **more}


TRUTH = {
    "images": [{"id": i, "height": 10, "width": 100} for i in (1, 2)],
    "categories": [{"id": CAT, "name": "cat"}, {"id": DOG, "name": "dog"}],
    "annotations": [
        thing(0, 10),
        thing(20, 10),
        thing(40, 10, DOG),
        thing(80, 20, iscrowd=1),
        thing(0, 10, DOG, image=2),
        thing(50, 10, DOG, image=2),
    ],
}
FOUND = [
    thing(0, 10, score=0.95),  # hit
    thing(0, 9, score=0.85),  # duplicate of it
    thing(20, 4, score=0.75),  # IoU 0.4: badly located
    thing(40, 10, CAT, score=0.65),  # a dog taken for a cat
    thing(85, 5, score=0.55),  # in the crowd: doesn't count
    thing(70, 5, DOG, image=2, score=0.45),  # nothing there
    thing(0, 10, DOG, image=2, score=0.35),  # hit
    thing(50, 10, DOG, image=2, score=0.05),  # hit, but not as deployed
]


@pytest.fixture(scope="module")
def analysis():
    scoring = Scoring(TRUTH, FOUND)
    return analyse(scoring, scoring.verdicts(0.5), TrainingSettings())


def test_confusion(analysis):
    assert analysis["confusion"] == {
        "labels": ["cat", "dog", "background"],
        # A cat found, one missed; a dog as cat, one as dog, one missed; the duplicate, the ill-located one
        # and the one where nothing is.
        "matrix": [[1, 0, 1], [1, 1, 1], [2, 1, 0]],
    }


def test_kinds_of_error(analysis):
    errors = analysis["errors"]
    counts = {name: kind["count"] for name, kind in errors["kinds"].items()}
    assert counts == {
        "class": 1,
        "localisation": 1,
        "class and localisation": 0,
        "duplicate": 1,
        "background": 1,
        "missed": 0,
    }
    # Cats: precision 1 up to recall 1/2, so 51 of 101 points. Dogs: false, hit, hit of three objects:
    # precision 2/3 up to recall 2/3, 67 points.
    base = (51 / 101 + 67 / 101 * 2 / 3) / 2
    assert errors["base"] == pytest.approx(base)
    # Without the false dog precision is 1 up to there.
    assert errors["kinds"]["background"]["gain"] == pytest.approx((51 / 101 + 67 / 101) / 2 - base)
    # Located well, the second cat is found by the third of the cats that count: precision 2/3 from 1/2 on.
    assert errors["kinds"]["localisation"]["gain"] == pytest.approx(50 / 101 * 2 / 3 / 2)


@pytest.mark.parametrize(
    ("kind", "objects", "found", "base", "mended"),
    [
        # F, hit of the cat: precision 1/2 everywhere; the dog unfound. Called a dog, it is a hit.
        (
            "class",
            [thing(0, 10), thing(40, 10, DOG)],
            [thing(40, 10, score=0.9), thing(0, 10, score=0.8)],
            (0.5 + 0) / 2,
            1.0,
        ),
        # The same with an IoU of 0.4: no change makes it right, so it only goes, and the dog is missed.
        (
            "class and localisation",
            [thing(0, 10), thing(40, 10, DOG)],
            [thing(40, 4, score=0.9), thing(0, 10, score=0.8)],
            (0.5 + 0) / 2,
            (1.0 + 0) / 2,
        ),
        # F, hit. In its place it is a hit.
        (
            "localisation",
            [thing(0, 10), thing(40, 10)],
            [thing(40, 4, score=0.9), thing(0, 10, score=0.8)],
            51 / 101 * 0.5,
            1.0,
        ),
        # Hit, F, hit: 1 up to recall 1/2, then 2/3.
        (
            "duplicate",
            [thing(0, 10), thing(40, 10)],
            [thing(0, 10, score=0.9), thing(0, 9, score=0.8), thing(40, 10, score=0.7)],
            (51 + 50 * 2 / 3) / 101,
            1.0,
        ),
        ("background", [thing(0, 10)], [thing(70, 9, score=0.9), thing(0, 10, score=0.8)], 0.5, 1.0),
        # One of two found; without the other there is nothing left to find.
        ("missed", [thing(0, 10), thing(40, 10)], [thing(0, 10, score=0.9)], 51 / 101, 1.0),
    ],
)
def test_what_mending_a_kind_would_give(kind, objects, found, base, mended):
    scoring = Scoring(TRUTH | {"annotations": objects}, found)
    errors = analyse(scoring, scoring.verdicts(0.5), TrainingSettings())["errors"]
    also = {"missed": 1} if kind == "class and localisation" else {}
    assert {name: one["count"] for name, one in errors["kinds"].items() if one["count"]} == {kind: 1} | also
    assert errors["base"] == pytest.approx(base)
    assert errors["kinds"][kind]["gain"] == pytest.approx(mended - base)


def test_the_best_threshold(analysis):
    # All: hit, false, false, false, false, hit, hit; of five objects. F1 at the last: 2 * 3 / (7 + 5).
    assert analysis["thresholds"]["all"] == {"score": 0.05, "f1": pytest.approx(0.5)}
    assert analysis["thresholds"]["classes"]["cat"] == {"score": 0.95, "f1": pytest.approx(2 / 3)}


def test_groups(analysis):
    assert analysis["groups"]["small"] == {"objects": 5, "found": 2}
    assert analysis["groups"]["large"] == {"objects": 0, "found": 0}
    assert analysis["groups"]["thin"] == {"objects": 5, "found": 2}


def test_calibration_by_hand():
    verdicts = Scoring(TRUTH, FOUND).verdicts(0.5)
    found = calibration(verdicts, bins=2)
    # Below 0.5: hit, hit, false at 0.05, 0.35, 0.45; above: hit, false, false, false.
    assert found.count.tolist() == [3, 4]
    assert found.precision.tolist() == pytest.approx([2 / 3, 1 / 4])
    assert found.score.tolist() == pytest.approx([0.85 / 3, 3.2 / 4])
    gaps = 3 * (2 / 3 - 0.85 / 3) + 4 * (0.8 - 0.25)
    assert found.error == pytest.approx(gaps / 7)


def test_equal_scores_are_one_point():
    verdicts = Scoring(TRUTH, [one | {"score": 0.5} for one in FOUND]).verdicts(0.5)
    assert curve(verdicts, 5).precision.tolist() == pytest.approx([3 / 7])


def test_the_interval_holds_the_score(analysis):
    found = analysis["interval"]
    assert found["low"] <= analysis["errors"]["base"] <= found["high"]
    assert 0 <= found["low"] < found["high"] <= 1


def test_nothing_found_and_nothing_to_find():
    for truth, found in ((TRUTH, []), (TRUTH | {"annotations": []}, FOUND)):
        scoring = Scoring(truth, found)
        told = analyse(scoring, scoring.verdicts(0.5), TrainingSettings())
        assert told["thresholds"]["all"] is None
        assert all(kind["gain"] >= 0 for kind in told["errors"]["kinds"].values()) or not truth["annotations"]


def drawn(mask):
    return encode(np.asarray(mask, dtype=np.uint8))


def test_thin():
    disc = np.hypot(*(np.mgrid[-20:21, -20:21])) < 19
    cable = np.eye(60) + np.eye(60, k=1)
    low, flat = np.zeros((2, 40, 70))
    low[30:36, 20:50] = flat[30:33, 5:65] = 1
    masks = [disc, cable, low, flat, np.zeros((5, 5))]
    assert thin([drawn(mask) for mask in masks]) == [False, True, False, True, False]
    assert thin([]) == []


@pytest.mark.parametrize("seed", range(30))
def test_thin_is_told_as_from_the_mask(seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 30, 2)
    mask = np.zeros((height, width))
    for _ in range(random.integers(0, 4)):
        (y, x), (h, w) = random.integers(-3, 25, 2), random.choice([1, 2, 5, 40], 2)
        mask[max(y, 0) : y + h, max(x, 0) : x + w] = 1
    padded = np.pad(mask, 1)
    outline = np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        assert thin([drawn(mask)]) == [False]
    else:
        box = np.hypot(np.ptp(rows) + 1, np.ptp(columns) + 1)
        assert thin([drawn(mask)]) == [2 * mask.sum() / outline < 0.1 * box]


def test_many_classes_are_put_together():
    names = {number: f"class {number}" for number in range(1, 121)}
    found = matrix([(7, 8), (7, -1), (-1, 120), (3, 3), (119, 119)], names)
    assert len(found["labels"]) == 102
    assert found["labels"][-2:] == ["other classes", "background"]
    counts, at = np.array(found["matrix"]), found["labels"].index
    assert counts[at("class 7"), at("class 8")] == counts[at("class 7"), at("background")] == 1
    assert counts[at("background"), at("class 120")] == counts[at("class 3"), at("class 3")] == 1
    assert counts[-2, -2] == 1  # class 119, which nothing is confused with
    assert counts.sum() == 5
