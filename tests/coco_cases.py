"""Ground truths and predictions of every kind, for the tests of scores."""

from typing import Any

import numpy as np
from pycocotools import mask as rle

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
