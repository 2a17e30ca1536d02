"""COCO's and VOC's numbers against pycocotools, and how long the report of a large run takes."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle

from maskline.artifacts import TrialRecord
from maskline.dataset import PreparedDataset

from .harness import Figure

HEIGHT, WIDTH = 480, 640
CLASSES = 80
ROUNDS = 5


def measure() -> Iterator[Figure]:
    """CPU time and memory, each in processes of their own that take turns; files in, numbers out."""
    with tempfile.TemporaryDirectory() as name:
        small, large, report = (Path(name) / part for part in ("small", "large", "report"))
        write(1250, small)
        write(5000, large)
        runs: dict[str, list[dict[str, float]]] = {}
        for _ in range(ROUNDS):
            for variant, folder in (
                ("pycocotools", large),
                ("mask", large),
                ("all", large),
                ("mask", small),
            ):
                runs.setdefault(f"{variant} {folder.name}", []).append(_child(variant, folder))
        cpu = {key: median(run["cpu"] for run in told) for key, told in runs.items()}
        memory = {key: median(run["memory"] for run in told) for key, told in runs.items()}

        def ratio(one: str, other: str) -> float:
            """Of CPU time, turn by turn: a machine that others slow down slows neighbours alike."""
            return median(a["cpu"] / b["cpu"] for a, b in zip(runs[one], runs[other], strict=True))

        reference, ours, whole = "pycocotools large", "mask large", "all large"
        peer = f"pycocotools: {cpu[reference]:.1f} s"
        yield Figure("evaluation.mask_cpu", ratio(reference, ours), 15, "higher", peer)
        peer = f"pycocotools: {memory[reference]:.0f} MiB"
        yield Figure("evaluation.mask_memory", memory[ours] / memory[reference], 1 / 3, "lower", peer)
        peer = f"mask numbers alone: {cpu[ours]:.2f} s"
        yield Figure("evaluation.mask_box_voc", ratio(whole, ours), 1.5, "lower", peer)
        peer = f"1,250 pictures: {cpu['mask small']:.2f} s"
        yield Figure("evaluation.growth_1250_to_5000", ratio(ours, "mask small"), 4.3, "lower", peer)
        write(1000, report)
        told = _child("report", report)
        peer = "50 trials, 1,000 pictures, numbers included"
        yield Figure("evaluation.report_time", told["wall"], 30, "lower", peer, "s")
        yield Figure("evaluation.report_size", told["size"] / 1e6, 15, "lower", peer, "MB")


def write(pictures: int, folder: Path) -> None:
    """About 7.2 objects and 9.3 predictions a picture, of 3 of 80 classes each: star-shaped masks."""
    folder.mkdir()
    random = np.random.default_rng(0)
    objects: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image in range(1, pictures + 1):
        kinds = random.integers(1, CLASSES + 1, 3)
        for _ in range(random.poisson(7.2)):
            kind, (x, y, size) = int(random.choice(kinds)), _place(random)
            crowd = int(random.random() < 0.015)
            objects.append(
                {"image_id": image, "category_id": kind, "iscrowd": crowd, **_star(random, x, y, size)}
            )
            if random.random() < 0.75:
                for _ in range(1 + int(random.random() < 0.15)):
                    dx, dy = random.normal(0, 0.08 * size, 2)
                    star = _star(random, x + dx, y + dy, size * random.uniform(0.85, 1.15))
                    named = kind if random.random() < 0.92 else int(random.choice(kinds))
                    score = round(float(random.beta(4, 2)), 4)
                    found.append({"image_id": image, "category_id": named, "score": score, **star})
        for _ in range(random.poisson(3.1)):
            place = {"image_id": image, "category_id": int(random.choice(kinds))}
            score = round(float(random.beta(1.5, 5)), 4)
            found.append({**place, "score": score, **_star(random, *_place(random))})
    images = [
        {"id": i, "height": HEIGHT, "width": WIDTH, "file_name": f"{i}.jpg"} for i in range(1, pictures + 1)
    ]
    categories = [{"id": number, "name": f"class {number}"} for number in range(1, CLASSES + 1)]
    objects = [{"id": number, **thing} for number, thing in enumerate(objects, start=1)]
    truth = {"images": images, "annotations": objects, "categories": categories}
    (folder / "validation.json").write_text(json.dumps(truth), encoding="utf-8")
    for file, gone in (
        ("predictions.json", ("bbox", "area")),
        ("predictions_bbox.json", ("segmentation", "area")),
    ):
        results = [{key: value for key, value in one.items() if key not in gone} for one in found]
        (folder / file).write_text(json.dumps(results), encoding="utf-8")


def _place(random: np.random.Generator) -> tuple[float, float, float]:
    size = np.exp(random.uniform(np.log(6), np.log(160)))
    return random.uniform(20, WIDTH - 20), random.uniform(20, HEIGHT - 20), float(size)


def _star(random: np.random.Generator, x: float, y: float, size: float) -> dict[str, Any]:
    angles = np.sort(random.uniform(0, 2 * np.pi, int(random.integers(12, 28))))
    radii = size * random.uniform(0.6, 1.2, len(angles))
    points = np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)
    outline = points.clip(0, [WIDTH - 1, HEIGHT - 1]).ravel().tolist()
    mask = rle.merge(rle.frPyObjects([outline], HEIGHT, WIDTH))
    plain = {"size": [HEIGHT, WIDTH], "counts": mask["counts"].decode("ascii")}
    return {"segmentation": plain, "area": float(rle.area(mask)), "bbox": rle.toBbox(mask).tolist()}


def _child(variant: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.evaluation_child", variant, str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def prepare_report(folder: Path) -> None:
    """What a run of 50 trials leaves, and its pictures."""
    from maskline.components.evaluation.measure import write_background

    random = np.random.default_rng(1)
    noise = Image.fromarray(random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    truth = json.loads((folder / "validation.json").read_text(encoding="utf-8"))
    for image in truth["images"]:
        noise.save(folder / image["file_name"], quality=80)
    (folder / "train.json").write_text(json.dumps(truth), encoding="utf-8")
    counts = {"images": len(truth["images"]), "instances": len(truth["annotations"])}
    names = tuple(category["name"] for category in truth["categories"])
    splits = {"train": counts, "validation": counts}
    PreparedDataset(folder, names, "ab" * 32, splits, 7, {}).write()
    trials = [
        TrialRecord(
            number,
            "complete",
            float(random.random()),
            15,
            {"learning_rate": float(random.random() / 100), "min_size": int(random.integers(400, 900))},
            15,
            15,
            900.0,
            curve=tuple((epoch, float(random.random())) for epoch in range(1, 16)),
        ).to_json()
        for number in range(50)
    ]
    write_background(folder, {"display_name": "bench"}, folder, {}, trials, {})
