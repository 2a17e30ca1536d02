"""hotcoco against pycocotools, on data of every kind: the same arrays, to the last bit."""

import contextlib
import copy
import io
import json
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskline.coco_forms import as_rle, box_results, mask_results
from maskline.coco_reference import coco_arrays
from maskline.errors import DataError
from maskline.metrics import COCO_NAMES, coco_evaluation, coco_scores
from maskline.scoring import Scoring
from maskline.verdicts import HIT, IGNORED
from maskline.voc import voc_verdicts

HEIGHT, WIDTH = 150, 200


def encoded(mask: np.ndarray) -> dict[str, Any]:
    found = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def rectangle(random: np.random.Generator) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    height, width = np.exp(random.uniform(0.7, 5, 2)).astype(int)
    y, x = random.integers(0, HEIGHT), random.integers(0, WIDTH)
    mask[y : y + height, x : x + width] = 1
    return mask


def annotation(random: np.random.Generator, image: int, categories: list[int]) -> dict[str, Any]:
    mask = rectangle(random) if random.random() > 0.05 else np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    found = encoded(mask)
    box = rle.toBbox(found).tolist()
    segmentation: Any = found
    if random.random() < 0.2 and mask.any():
        x, y, w, h = box
        segmentation = [[x + 0.3, y, x + w, y + 0.4, x + w, y + h, x, y + h]]
    return {
        "image_id": image,
        "category_id": int(random.choice(categories)),
        "segmentation": segmentation,
        "area": float(rle.area(found)) * (0.97 if random.random() < 0.2 else 1),
        "bbox": box,
        "iscrowd": int(random.random() < 0.15),
        "ignore": int(random.random() < 0.1),
        "_mask": mask,
    }


def prediction(random: np.random.Generator, image: int, category: int, mask: np.ndarray) -> dict[str, Any]:
    moved = encoded(np.roll(mask, tuple(random.integers(-3, 4, 2)), (0, 1)))
    return {
        "image_id": image,
        "category_id": category,
        "score": round(float(random.random()), int(random.integers(1, 4))),  # many are equal
        "segmentation": moved,
        "bbox": (np.array(rle.toBbox(moved)) + random.normal(0, 1, 4)).tolist(),
    }


def data(seed: int, first: int = 0, gap: int = 1, pictures: int = 12) -> tuple[dict[str, Any], list[Any]]:
    """Pictures with ids from `first` on, `gap` apart; some empty, some classes without objects."""
    random = np.random.default_rng(seed)
    images = [first + gap * i for i in range(pictures)]
    categories = [first + gap * i for i in range(25)]
    objects, found = [], []
    for image in images:
        there = [annotation(random, image, categories[:7]) for _ in range(random.integers(0, 9))]
        objects += there
        for thing in there:
            for _ in range(random.integers(0, 4)):
                category = thing["category_id"] if random.random() < 0.9 else int(random.choice(categories))
                found.append(prediction(random, image, category, thing["_mask"]))
    for number, thing in enumerate(objects, start=first + 1):
        del thing["_mask"]
        thing["id"] = number * gap
    sized = [{"id": i, "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.png"} for i in images]
    truth = {
        "images": sized,
        "categories": [{"id": number, "name": f"class {number}"} for number in categories],
        "annotations": objects,
    }
    return truth, [found[i] for i in random.permutation(len(found))]


def crowded(seed: int) -> tuple[dict[str, Any], list[Any]]:
    """500 predictions of one class on one picture."""
    truth, _ = data(seed, first=3)
    random = np.random.default_rng(seed)
    thing = next(a for a in truth["annotations"] if isinstance(a["segmentation"], dict) and not a["iscrowd"])
    mask = rle.decode(thing["segmentation"])
    image, category = thing["image_id"], thing["category_id"]
    return truth, [prediction(random, image, category, mask) for _ in range(500)]


def without_objects(seed: int) -> tuple[dict[str, Any], list[Any]]:
    truth, found = data(seed)
    return truth | {"annotations": []}, found


def only_crowd(seed: int) -> tuple[dict[str, Any], list[Any]]:
    truth, found = data(seed)
    return truth | {"annotations": [a | {"iscrowd": 1} for a in truth["annotations"]]}, found


def nothing_found(seed: int) -> tuple[dict[str, Any], list[Any]]:
    return data(seed)[0], []


def equal_scores(seed: int) -> tuple[dict[str, Any], list[Any]]:
    truth, found = data(seed)
    return truth, [one | {"score": 0.5} for one in found]


CASES = {
    **{f"random {seed}": data(seed, first=seed % 3, gap=1 + seed % 4) for seed in range(8)},
    **{
        make.__name__: make(5) for make in (crowded, without_objects, only_crowd, nothing_found, equal_scores)
    },
}


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


def test_the_names_are_twelve():
    assert len(COCO_NAMES) == 12
