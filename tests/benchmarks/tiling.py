"""What tiling is worth and costs: one light model, trained once, asked with a grid and without."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from pycocotools import mask as rle
from torch import nn

from maskline.loading import collate
from maskline.metrics import primary_score
from maskline.models import build_model
from maskline.prediction import predict
from maskline.settings import TrainingSettings, complete
from maskline.training_data import TrainingDataset

from .harness import Figure

WIDTH, HEIGHT = 2000, 1000
PICTURES = 12
"""Of each kind, to learn from and, others, to be judged by."""
KINDS = {"small": (12, 24, 40), "large": (260, 480, 3)}
"""Least and greatest side of an object in pixels, and objects a picture."""
COLOURS = {1: (200, 60, 50), 2: (50, 80, 200)}
STEPS, BATCH, RATE = 450, 2, 2e-3
SETTINGS = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    # A small object has 4 to 9 pixels on the picture as a whole, and 8 to 15 on a tile.
    "min_size": 360,
    "max_size": 720,
    "number_of_workers": 0,
    "advanced_settings": {"pretrained_weights": "none", "primary_iou": "0.50:0.95"},
}
GRID = {"tile_grid_size": "3x2"}


def measure() -> Iterator[Figure]:
    """Mask AP (IoU 0.50:0.95) in points with the grid less that without, and the ratio of the times."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        learnt, judged = ({kind: _pictures(Path(folder), kind, seed) for kind in KINDS} for seed in (0, 2))
        model = _trained([learnt[kind] for kind in KINDS])
        for kind, target in (("small", 10.0), ("large", -0.5)):
            plain, seconds = _asked(model, judged[kind], complete(SETTINGS))
            tiled, more = _asked(model, judged[kind], complete({**SETTINGS, **GRID}))
            told = f"the same model without a grid: {100 * plain:.1f} points; with it {100 * tiled:.1f}"
            yield Figure(f"tiling.{kind}", 100 * (tiled - plain), target, "higher", told, "pts")
            told = f"the same model without a grid: {seconds:.2f} CPU seconds a picture"
            yield Figure(f"tiling.{kind}_cost", more / seconds, 8.0, "lower", told)


def _asked(model: nn.Module, coco: dict[str, Any], settings: TrainingSettings) -> tuple[float, float]:
    """Mask AP, and CPU seconds a picture."""
    began = time.process_time()
    found = predict(model, coco, settings, device=torch.device("cpu"))
    seconds = (time.process_time() - began) / len(coco["images"])
    return primary_score(settings, coco, found)[1]["mask_AP"], seconds


def _trained(sets: list[dict[str, Any]]) -> nn.Module:
    """The light model after STEPS on pictures and tiles of both kinds."""
    settings = complete({**SETTINGS, **GRID})
    torch.manual_seed(0)
    model = build_model(settings, len(COLOURS)).train()
    data = torch.utils.data.ConcatDataset([TrainingDataset(coco, settings, augment=True) for coco in sets])
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS, pct_start=0.15)
    rounds = STEPS * BATCH // len(data) + 1
    order = torch.cat([torch.randperm(len(data)) for _ in range(rounds)])
    for batch in order[: STEPS * BATCH].split(BATCH):
        optimizer.zero_grad()
        sum(model(*collate([data[int(index)] for index in batch])).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimizer.step()
        schedule.step()
    return model


def _pictures(folder: Path, kind: str, seed: int) -> dict[str, Any]:
    """A split of red discs and blue squares that don't overlap, on noise."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for place in range(PICTURES):
        random = np.random.default_rng([seed, len(kind), ord(kind[0]), place])
        grain = random.integers(90, 150, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
        picture = Image.fromarray(grain).resize((WIDTH, HEIGHT))
        file = folder / f"{kind}-{seed}-{place}.jpg"
        image = {"id": place + 1, "file_name": str(file), "width": WIDTH, "height": HEIGHT}
        for box in _boxes(random, kind):
            label = int(random.integers(1, 3))
            mask = Image.new("L", (WIDTH, HEIGHT))
            pen = ImageDraw.Draw(mask)
            (pen.ellipse if label == 1 else pen.rectangle)(box, fill=1)
            picture.paste(COLOURS[label], mask=mask.point(lambda value: 255 * value))
            code = rle.encode(np.asfortranarray(np.array(mask)))
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": label,
                    "segmentation": {**code, "counts": code["counts"].decode()},
                    "bbox": rle.toBbox(code).tolist(),
                    "area": float(rle.area(code)),
                    "iscrowd": 0,
                }
            )
        picture.save(file, quality=90)
        images.append(image)
    categories = [{"id": 1, "name": "disc"}, {"id": 2, "name": "square"}]
    return {"images": images, "annotations": annotations, "categories": categories}


def _boxes(random: np.random.Generator, kind: str) -> list[tuple[int, int, int, int]]:
    least, most, number = KINDS[kind]
    found: list[tuple[int, int, int, int]] = []
    while len(found) < number:
        side = int(random.integers(least, most + 1))
        x, y = int(random.integers(WIDTH - side)), int(random.integers(HEIGHT - side))
        if all(x > r + 4 or x + side < l - 4 or y > b + 4 or y + side < t - 4 for l, t, r, b in found):  # noqa: E741
            found.append((x, y, x + side - 1, y + side - 1))
    return found
