"""VOC's scores on a case worked by hand.

Objects are horizontal runs of pixels in one row of a 10 x 100 picture, so an IoU is a ratio of lengths.
"""

from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle

from maskline.scoring import Scoring
from maskline.voc import VocClass, voc_scores, voc_verdicts

CAT, DOG, EEL = 1, 2, 3


def run(start: int, length: int) -> dict[str, Any]:
    mask = np.zeros((10, 100), dtype=np.uint8, order="F")
    mask[4, start : start + length] = 1
    found = rle.encode(mask)
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def thing(start: int, length: int, category: int = CAT, image: int = 1, **more: Any) -> dict[str, Any]:
    return {"image_id": image, "category_id": category, "segmentation": run(start, length), **more}


def truth(*annotations: dict[str, Any]) -> dict[str, Any]:
    names = {CAT: "cat", DOG: "dog", EEL: "eel"}
    return {
        "images": [{"id": i, "height": 10, "width": 100} for i in (1, 2)],
        "categories": [{"id": number, "name": name} for number, name in names.items()],
        "annotations": list(annotations),
    }


def match(ground_truth, predictions, threshold, matching="voc"):
    words = {1: "hit", 0: "false", -1: "ignored"}
    verdicts = voc_verdicts(Scoring(ground_truth, predictions), threshold, matching)
    return [words[verdict] for verdict in verdicts.verdict.tolist()]


def test_a_case_worked_by_hand():
    ground_truth = truth(
        thing(0, 10),
        thing(20, 10),
        thing(0, 10, image=2),
        thing(50, 10, image=2),
        thing(80, 10, DOG, image=2),
    )
    predictions = [
        thing(0, 10, score=0.9),  # IoU 1: hit                              precision 1/1, recall 1/4
        thing(1, 9, score=0.8),  # IoU 0.9 with the same one: false         precision 1/2, recall 1/4
        thing(2, 10, image=2, score=0.7),  # IoU 8/12: hit                  precision 2/3, recall 2/4
        thing(55, 10, image=2, score=0.6),  # IoU 5/15: false               precision 2/4, recall 2/4
        thing(20, 8, score=0.5),  # IoU 0.8: hit                            precision 3/5, recall 3/4
        thing(40, 5, EEL, score=0.4),  # no eel in the labels
    ]
    scores = voc_scores(ground_truth, predictions, 0.5)
    # Falling precision over recall: 1 up to 1/4, 2/3 up to 1/2, 3/5 up to 3/4, 0 beyond.
    area = 0.25 * 1 + 0.25 * 2 / 3 + 0.25 * 3 / 5
    cat = scores.classes["cat"]
    assert cat.average_precision == pytest.approx(area, abs=1e-12)
    assert (cat.precision, cat.recall) == (0.6, 0.75)
    assert scores.classes["dog"] == VocClass(average_precision=0.0, precision=None, recall=0.0)
    assert scores.classes["eel"] == VocClass(average_precision=None, precision=0.0, recall=None)
    assert scores.mean_average_precision == pytest.approx(area / 2, abs=1e-12)
    assert scores.precision == pytest.approx(0.6 / 2)
    assert scores.recall == pytest.approx(0.75 / 2)


def test_there_is_no_second_best_search():
    # Both detections overlap the first object most (0.6 and 0.5 there against 0.5 and 0.4); COCO would give
    # the second object to the second detection.
    ground_truth = truth(thing(0, 10), thing(5, 10))
    predictions = [thing(0, 10, score=0.9), thing(2, 10, score=0.8)]
    assert match(ground_truth, predictions, 0.5) == ["hit", "false"]


@pytest.mark.parametrize(("threshold", "verdict"), [(0.5, "hit"), (0.51, "false")])
def test_the_threshold_itself_is_enough(threshold, verdict):
    assert match(truth(thing(0, 10)), [thing(0, 5, score=1.0)], threshold) == [verdict]


def test_crowds_and_difficult_objects_count_neither_way():
    ground_truth = truth(thing(0, 40, iscrowd=1), thing(50, 10, difficult=1), thing(10, 10))
    predictions = [
        thing(20, 5, score=0.9),  # inside the crowd, IoU with it 1/8
        thing(0, 5, score=0.8),  # again: a crowd is never taken
        thing(50, 10, score=0.7),  # the difficult one
        thing(10, 10, score=0.6),  # a real object inside the crowd
        thing(10, 9, score=0.5),  # a second one on it
        thing(70, 5, score=0.4),  # nothing there
    ]
    assert match(ground_truth, predictions, 0.5) == ["ignored", "ignored", "ignored", "hit", "false", "false"]
    scores = voc_scores(ground_truth, predictions, 0.5)
    assert scores.classes["cat"] == VocClass(
        average_precision=1.0, precision=pytest.approx(1 / 3), recall=1.0
    )


def test_verdicts_stand_in_the_order_given():
    predictions = [thing(0, 9, score=0.1), thing(0, 10, score=0.9)]
    assert match(truth(thing(0, 10)), predictions, 0.5) == ["false", "hit"]


@pytest.mark.parametrize("annotations", [[], [thing(0, 10, iscrowd=1)]], ids=["no objects", "only crowd"])
def test_nothing_to_find(annotations):
    scores = voc_scores(truth(*annotations), [])
    assert (scores.mean_average_precision, scores.precision, scores.recall) == (-1, -1, -1)
    assert scores.classes == {}
    assert voc_scores(truth(*annotations), [thing(90, 5, score=0.5)]).precision == 0


def test_nothing_found():
    scores = voc_scores(truth(thing(0, 10)), [])
    assert (scores.mean_average_precision, scores.precision, scores.recall) == (0, -1, 0)
