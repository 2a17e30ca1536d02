"""What a prepared data set holds, in numbers."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from maskline.artifacts import FINDINGS
from maskline.dataset import PreparedDataset

FORMAT = 1
SMALL, MEDIUM = 32**2, 96**2
"""Pixels below which COCO calls an object small, and medium; larger ones are large."""
COUNTS = (0, 1, 2, 3, 5, 9, 17, 33, 65, 129)
"""Lower ends of the bins of instances a picture."""
SIDES = (0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""Lower ends of the bins of relative size: the root of an object's share of its picture."""
RATIOS = (0, 1 / 8, 1 / 4, 1 / 2, 2 / 3, 1, 1.5, 2, 4, 8)
"""Lower ends of the bins of width divided by height."""
FEW = 10
"""Objects in training below which a class is told of; Azure ML's advice is 10 to 15."""
_FIRST = 5


def describe(dataset: PreparedDataset) -> dict[str, Any]:
    """Everything that the data report shows, as plain data; crowd regions count as such and as nothing else.

    Returns:
        format, digest, seed, classes (names); by split: pictures, instances, crowds, background,
        by_class (instances and pictures a class), widths, heights (of the pictures: smallest, median,
        largest), sizes (the most frequent [width, height, count]), instances_per_picture,
        picture_ratios, object_ratios, relative_sizes (each `{"from": lower ends, "counts": ...}`),
        coco_sizes (small, medium, large); and findings by kind: count, lost, actions, first.
    """
    return {
        "format": FORMAT,
        "digest": dataset.digest,
        "seed": dataset.seed,
        "classes": list(dataset.classes),
        "splits": {name: _split(dataset, name) for name in dataset.splits},
        "findings": _findings(dataset),
    }


def advice(described: dict[str, Any]) -> list[str]:
    """What a person should look into before training, one sentence each."""
    found = []
    train = described["splits"]["train"]
    rare = [n for n, row in train["by_class"].items() if 0 < row["instances"] < FEW]
    if rare:
        found.append(f"Fewer than {FEW} objects to learn from: {_listed(rare)}.")
    for name, split in described["splits"].items():
        absent = [n for n, row in split["by_class"].items() if not row["instances"]]
        if absent:
            rest = "; no score of this part covers them" if name != "train" else "; they can't be learnt"
            found.append(f"Not in {name}: {_listed(absent)}{rest}.")
    small = train["coco_sizes"]["small"] / max(1, train["instances"])
    if small > 0.5:
        found.append(
            f"{small:.0%} of the training objects are small (under 32² pixels); a larger min_size, or "
            "image_size, helps to find them."
        )
    kinds = described["findings"]
    if copies := sum(kinds.get(k, {"count": 0})["count"] for k in ("shared_picture", "near_duplicate")):
        found.append(f"{copies} pictures are in two parts of the data, which flatters every score.")
    return found


def _listed(names: Sequence[str], most: int = 12) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest


def _split(dataset: PreparedDataset, name: Any) -> dict[str, Any]:
    coco = dataset.coco(name)
    sizes = {image["id"]: (image["width"], image["height"]) for image in coco["images"]}
    objects = [a for a in coco["annotations"] if not a["iscrowd"]]
    where: dict[int, set[int]] = defaultdict(set)
    for found in objects:
        where[found["category_id"]].add(found["image_id"])
    numbers = Counter(a["category_id"] for a in objects)
    on_picture = Counter(a["image_id"] for a in objects)
    areas = np.array([a["area"] for a in objects], dtype=np.float64)
    whole = np.array([sizes[a["image_id"]] for a in objects], dtype=np.float64).reshape(-1, 2)
    boxes = np.array([a["bbox"] for a in objects], dtype=np.float64).reshape(-1, 4)
    sides = np.array(list(sizes.values()), dtype=np.int64).reshape(-1, 2)
    small, medium = int((areas < SMALL).sum()), int((areas < MEDIUM).sum())
    return {
        **dataset.splits[name],
        "pictures": len(sizes),
        "by_class": {
            label: {"instances": numbers[key], "pictures": len(where[key])}
            for key, label in enumerate(dataset.classes, 1)
        },
        "widths": _spread(sides[:, 0]),
        "heights": _spread(sides[:, 1]),
        "sizes": [[*size, count] for size, count in Counter(sizes.values()).most_common(50)],
        "instances_per_picture": _bins([on_picture[key] for key in sizes], COUNTS),
        "picture_ratios": _bins(sides[:, 0] / sides[:, 1], RATIOS),
        "object_ratios": _bins(boxes[:, 2] / boxes[:, 3], RATIOS),
        "relative_sizes": _bins(np.sqrt(areas / whole.prod(axis=1)), SIDES),
        "coco_sizes": {"small": small, "medium": medium - small, "large": len(objects) - medium},
    }


def _spread(values: Any) -> list[float]:
    return [float(np.min(values)), float(np.median(values)), float(np.max(values))] if len(values) else []


def _bins(values: Any, lower: Sequence[float]) -> dict[str, Any]:
    """How many values lie in each bin, and their spread; the last bin has no upper end."""
    places = np.searchsorted(np.array(lower), np.asarray(values), side="right") - 1
    counts = np.bincount(places, minlength=len(lower)).tolist() if len(places) else [0] * len(lower)
    return {"from": list(lower), "counts": counts, "spread": _spread(values)}


def _findings(dataset: PreparedDataset) -> dict[str, Any]:
    """The findings by kind, the most costly first; where the file is missing, their numbers only."""
    file = dataset.path / FINDINGS
    kinds: dict[str, dict[str, Any]] = {}
    for found in _lines(file.open(encoding="utf-8")) if file.is_file() else ():
        kind = kinds.setdefault(found["kind"], {"count": 0, "lost": 0, "actions": Counter(), "first": []})
        kind["count"] += 1
        kind["lost"] += found["lost"]
        kind["actions"][found["action"]] += 1
        if len(kind["first"]) < _FIRST:
            kind["first"].append({key: found[key] for key in ("part", "where", "what", "action")})
    order = sorted(kinds, key=lambda k: (-kinds[k]["lost"], -kinds[k]["count"], k))
    return {kind: {**kinds[kind], "actions": dict(kinds[kind]["actions"])} for kind in order}


def _lines(stream: Iterable[str]) -> Iterable[dict[str, Any]]:
    return (json.loads(line) for line in stream if line.strip())
