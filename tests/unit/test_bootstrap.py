"""Draws of pictures by weights give what scoring the drawn pictures anew gives."""

import numpy as np
import pytest
from pycocotools import mask as rle

from maskline.bootstrap import _draws, interval, resampled
from maskline.metrics import coco_scores, voc_scores
from maskline.scoring import IOUS, Scoring
from maskline.voc import voc_verdicts

PICTURES, ROUNDS = 9, 12


def encoded(mask):
    found = rle.encode(np.asfortranarray(mask))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(4)
    objects, found = [], []
    for image in range(1, PICTURES + 1):
        for _ in range(random.integers(1, 6)):
            mask = np.zeros((60, 60), dtype=np.uint8)
            y, x = random.integers(0, 45, 2)
            mask[y : y + random.integers(5, 20), x : x + random.integers(5, 20)] = 1
            place = {"image_id": image, "category_id": int(random.integers(1, 3))}
            objects.append(place | {"segmentation": encoded(mask), "iscrowd": int(random.random() < 0.1)})
            if random.random() < 0.8:
                moved = encoded(np.roll(mask, tuple(random.integers(-2, 3, 2)), (0, 1)))
                found.append(place | {"segmentation": moved, "score": float(random.random())})
    images = [{"id": i, "height": 60, "width": 60} for i in range(1, PICTURES + 1)]
    categories = [{"id": i, "name": str(i)} for i in (1, 2)]
    return {"images": images, "categories": categories, "annotations": objects}, found


def drawn(data, counts):
    """The pictures as often as they were drawn, under new ids."""
    truth, found = data
    images, objects, predictions = [], [], []
    for image, count in zip(truth["images"], counts, strict=True):
        for _ in range(int(count)):
            number = len(images) + 1
            images.append(image | {"id": number})
            objects += [
                a | {"image_id": number} for a in truth["annotations"] if a["image_id"] == image["id"]
            ]
            predictions += [p | {"image_id": number} for p in found if p["image_id"] == image["id"]]
    return truth | {"images": images, "annotations": objects}, predictions


def test_coco_at_one_threshold(data):
    scoring = Scoring(*data)
    samples = resampled([scoring.verdicts(0.5)], scoring.images, rounds=ROUNDS)
    expected = [coco_scores(*drawn(data, counts))["AP50"] for counts in _draws(PICTURES, ROUNDS, 0)]
    assert samples == pytest.approx(expected, abs=1e-9)


def test_coco_over_ten_thresholds(data):
    scoring = Scoring(*data)
    verdicts = [scoring.verdicts(iou) for iou in IOUS]
    samples = resampled(verdicts, scoring.images, rounds=ROUNDS, seed=3)
    expected = [coco_scores(*drawn(data, counts))["AP"] for counts in _draws(PICTURES, ROUNDS, 3)]
    assert samples == pytest.approx(expected, abs=1e-9)


def test_voc(data):
    scoring = Scoring(*data)
    samples = resampled([voc_verdicts(scoring, 0.6)], scoring.images, "voc", rounds=ROUNDS)
    draws = _draws(PICTURES, ROUNDS, 0)
    expected = [voc_scores(*drawn(data, counts), 0.6).mean_average_precision for counts in draws]
    assert samples == pytest.approx(expected, abs=1e-9)


def test_the_interval_covers_the_score_and_narrows(data):
    scoring = Scoring(*data)
    score = coco_scores(*data)["AP50"]
    low, high = interval(resampled([scoring.verdicts(0.5)], scoring.images))
    assert low < score < high
    many = drawn(data, [16] * PICTURES)
    wide = Scoring(*many)
    near, far = interval(resampled([wide.verdicts(0.5)], wide.images))
    # Sixteen times the pictures: a quarter of the width.
    assert (far - near) / (high - low) == pytest.approx(0.25, rel=0.2)


def test_the_interval_of_known_draws():
    assert interval(np.arange(1001) / 1000) == pytest.approx((0.025, 0.975))
    assert interval(np.full(10, np.nan)) is None


def test_nothing_to_draw():
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]}
    scoring = Scoring(truth, [])
    assert np.isnan(resampled([scoring.verdicts(0.5)], [], rounds=3)).all()
