"""VOC's matching against its loop, one detection after the other: the same verdicts on data of every kind."""

from typing import Any

import numpy as np
import pytest
from coco_cases import CASES, HEIGHT, WIDTH, encoded
from pycocotools import mask as rle

from maskline.coco_forms import as_rle
from maskline.scoring import Scoring
from maskline.voc import voc_verdicts


def voc_by_the_book(truth, found, threshold, matching):
    """VOCevaldet.m's loop, one detection after the other; crowd regions as maskline.voc says."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in truth["images"]}
    verdicts, taken = [0] * len(found), set()
    for place in sorted(range(len(found)), key=lambda i: -found[i]["score"]):
        one = found[place]
        best, most, crowd_share = None, -1.0, 0.0
        for index, thing in enumerate(truth["annotations"]):
            if (thing["image_id"], thing["category_id"]) != (one["image_id"], one["category_id"]):
                continue
            mask = as_rle(thing["segmentation"], *sizes[one["image_id"]])
            overlap = rle.iou([one["segmentation"]], [mask], [thing["iscrowd"]])[0, 0]
            if thing["iscrowd"]:
                crowd_share = max(crowd_share, overlap)
            if overlap > most and not (thing["iscrowd"] and matching == "voc"):
                best, most = index, overlap
        if best is not None and most >= threshold:
            if truth["annotations"][best]["iscrowd"] or truth["annotations"][best].get("difficult"):
                verdicts[place] = -1
            elif best not in taken:
                verdicts[place] = 1
                taken.add(best)
        elif matching == "voc" and crowd_share >= threshold:
            verdicts[place] = -1
    return verdicts


@pytest.mark.parametrize("matching", ["voc", "azure"])
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.75])
@pytest.mark.parametrize(
    "case", ["random 0", "random 1", "random 2", "crowded", "equal_scores", "only_crowd"]
)
def test_voc_goes_by_the_book(case, threshold, matching):
    truth, found = CASES[case]
    for thing in truth["annotations"][::11]:
        thing["difficult"] = 1
    verdicts = voc_verdicts(Scoring(truth, found), threshold, matching)
    assert verdicts.verdict.tolist() == voc_by_the_book(truth, found, threshold, matching)


def shape(random: np.random.Generator) -> np.ndarray:
    """A rectangle of a small picture, some with holes, some in two parts, some empty."""
    mask = np.zeros((24, 30), dtype=np.uint8)
    (height, width), (y, x) = random.integers(0, 14, 2), random.integers(0, 14, 2)
    mask[y : y + height, x : x + width] = 1
    if random.random() < 0.3:
        mask &= (random.random(mask.shape) < 0.7).astype(np.uint8)
    return mask | np.roll(mask, (5, 9), (0, 1)) if random.random() < 0.2 else mask


def entangled(seed: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Two small pictures full of objects on top of one another, and detections that reach several."""
    random = np.random.default_rng(seed)

    def place() -> dict[str, int]:
        return {"image_id": int(random.integers(1, 3)), "category_id": int(random.integers(1, 3))}

    masks = [shape(random) for _ in range(random.integers(0, 12))]
    objects, found = [], []
    for number, mask in enumerate(masks, start=1):
        crowd = random.random() < 0.25
        if crowd:
            mask[3:20, 2:25] = 1
        thing = {"id": number, "segmentation": encoded(mask), "bbox": rle.toBbox(encoded(mask)).tolist()}
        # What was annotated as area and as a box of a prediction is no measure of the masks.
        thing["area"] = float(mask.sum()) * (0.9 if random.random() < 0.3 else 1)
        odd = {"iscrowd": int(crowd), "difficult": int(random.random() < 0.15)}
        objects.append({**thing, **place(), **odd})
    for _ in range(random.integers(0, 25)):
        mask = masks[random.integers(len(masks))] if masks and random.random() < 0.6 else shape(random)
        if masks and random.random() < 0.3:
            mask = mask | masks[random.integers(len(masks))]
        score = round(float(random.random()), 1)
        found.append({**place(), "segmentation": encoded(mask), "score": score})
        if seed % 2:
            found[-1]["bbox"] = [0, 0, 1, 1]
    truth = {
        "images": [{"id": image, "height": 24, "width": 30} for image in (1, 2)],
        "categories": [{"id": kind, "name": str(kind)} for kind in (1, 2)],
        "annotations": objects,
    }
    return truth, found


@pytest.mark.parametrize("matching", ["voc", "azure"])
@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.75, 1.0])
def test_voc_goes_by_the_book_where_masks_overlap(threshold, matching):
    for seed in range(40):
        truth, found = entangled(seed)
        verdicts = voc_verdicts(Scoring(truth, found), threshold, matching)
        assert verdicts.verdict.tolist() == voc_by_the_book(truth, found, threshold, matching), seed


def test_a_detection_of_two_halves():
    """IoU 0.5 with both of two objects apart: VOC takes the first, COCO the last."""

    def bar(start, length):
        mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        mask[5:9, start : start + length] = 1
        return encoded(mask), mask

    def thing(number, start):
        mask = bar(start, 10)[0]
        box, area = rle.toBbox(mask).tolist(), float(rle.area(mask))
        place = {"id": number, "image_id": 1, "category_id": 1, "iscrowd": 0}
        return place | {"segmentation": mask, "bbox": box, "area": area}

    truth = {
        "images": [{"id": 1, "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "bar"}],
        "annotations": [thing(1, 0), thing(2, 100)],
    }
    both = encoded(bar(0, 10)[1] | bar(100, 10)[1])
    found = [
        {"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": both},
        {"image_id": 1, "category_id": 1, "score": 0.8, "segmentation": bar(0, 10)[0]},
    ]
    scoring = Scoring(truth, found)
    assert scoring.verdicts(0.5).verdict.tolist() == [1, 1]
    assert voc_verdicts(scoring, 0.5).verdict.tolist() == [1, 0]
    assert voc_by_the_book(truth, found, 0.5, "voc") == [1, 0]
