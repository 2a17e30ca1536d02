"""Which pictures are shown."""

from maskline.components.evaluation.choose import PictureScore, choose, picture_scores
from maskline.scoring import Scoring

RUN = {"size": [1, 10], "counts": "0:"}  # all ten pixels
REST = {"size": [1, 10], "counts": ":"}  # none


def test_f1_counts_found_false_and_missed():
    assert PictureScore(1, hits=2, false=1, missed=1).f1 == 4 / 6
    assert PictureScore(1, 0, 0, 0).f1 == 1
    assert PictureScore(1, 0, 0, 3).f1 == 0


def test_scores_are_in_the_order_of_pictures():
    truth = {
        "images": [{"id": i, "height": 1, "width": 10} for i in (5, 2, 9)],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "segmentation": RUN},
            {"image_id": 2, "category_id": 1, "segmentation": RUN},
            {"image_id": 9, "category_id": 1, "segmentation": RUN, "iscrowd": 1},
        ],
    }
    predictions = [
        {"image_id": 5, "category_id": 1, "segmentation": RUN, "score": 0.9},
        {"image_id": 2, "category_id": 1, "segmentation": REST, "score": 0.9},
        {"image_id": 9, "category_id": 1, "segmentation": RUN, "score": 0.9},
    ]
    scoring = Scoring(truth, predictions)
    assert picture_scores(scoring.verdicts(0.5), scoring.images) == [
        PictureScore(2, 0, 1, 1),
        PictureScore(5, 1, 0, 0),
        PictureScore(9, 0, 0, 0),
    ]


def test_worst_middle_and_best():
    scores = [PictureScore(n, hits=n, false=0, missed=99 - n) for n in range(1, 100)]
    shown = [score.image_id for score in choose(scores, 12)]
    assert shown == [1, 2, 3, 4, 48, 49, 50, 51, 96, 97, 98, 99]


def test_few_pictures_are_all_shown_and_empty_ones_last():
    scores = [PictureScore(1, 0, 0, 0), PictureScore(2, 3, 0, 0), PictureScore(3, 0, 1, 0)]
    assert [score.image_id for score in choose(scores, 12)] == [3, 2, 1]
    assert [score.image_id for score in choose(scores, 2)] == [3, 2]


def test_equal_pictures_are_shown_once():
    scores = [PictureScore(n, 1, 0, 0) for n in range(20)]
    shown = [score.image_id for score in choose(scores, 12)]
    assert len(set(shown)) == len(shown) == 12
