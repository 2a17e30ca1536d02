"""Training pictures from the disk to the batch that a network takes, against torchvision's reference recipe.

The peer is the recipe of torchvision's detection references, written anew from its public API: Pillow reads
the whole picture, pycocotools makes a mask of the picture's size from each object's polygons, both are
flipped half of the time, become float, and the model's transform normalises, resizes and pads. Ours ends at
the same batch. Both load in this process, one thread; CPU time a picture.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor
from torchvision import tv_tensors
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms import v2

from maskline.augmentation import View, whole
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.dataset import PreparedDataset
from maskline.models.resizing import MEAN, STD, ExactTransform
from maskline.settings import complete
from maskline.training_data import TrainingDataset

from .harness import Figure, in_turn

DATA = (Path(__file__).parents[2] / "../shared/data/coco_crowd").resolve()
PICTURES = 24
BATCH = 2
LARGEST = 1333
TARGETS = {320: (2.5, 5.0), 800: (2.0, 2.0)}
"""Shorter side in pixels: by how much the peer is to be beaten without and with a cache."""

Batches = Callable[[], object]


def measure() -> Iterator[Figure]:
    """CPU time against the peer's, with the same flips; and with all augmentations, which the peer hasn't."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "prepared"
        prepare(Source(str(DATA), "coco"), None, out=data)
        coco = PreparedDataset.read(data).coco("train")
        coco["images"] = coco["images"][:PICTURES]
        for side, (fresh, cached) in TARGETS.items():
            variants = [
                _ours(_Flipped(coco, _settings(side))),
                _ours(_Flipped(coco, _settings(side, cache_mib=1024))),
                _ours(TrainingDataset(coco, _settings(side, cache_mib=1024), augment=True)),
                _peer(coco, side),
            ]
            variants[1]()  # what is kept has to be made first
            ours, kept, augmented, peer = in_turn(*variants, rounds=5)
            told = f"torchvision's reference recipe: {1000 * peer / PICTURES:.1f} ms a picture"
            yield Figure(f"data_path.{side}", peer / ours, fresh, "higher", told)
            yield Figure(f"data_path.{side}_cached", peer / kept, cached, "higher", told)
            yield Figure(f"data_path.{side}_cached_all_augmentations", peer / augmented, 1.0, "higher", told)


class _Flipped(TrainingDataset):
    """With the recipe's only augmentation."""

    def _view(self, random: np.random.Generator, index: int) -> View:
        view = whole(self._decoded[index], self._sizes[index])
        return View(view.window, view.part, view.canvas, flip=bool(random.random() < 0.5))


def _settings(side: int, **advanced: object) -> Any:
    return complete({"min_size": side, "max_size": LARGEST, "advanced_settings": advanced})


def _ours(dataset: TrainingDataset) -> Batches:
    transform = ExactTransform(dataset._sizes[0][0], LARGEST).train()

    def run() -> None:
        for start in range(0, len(dataset), BATCH):
            items = [dataset[index] for index in range(start, min(start + BATCH, len(dataset)))]
            transform([picture for picture, _ in items], [target for _, target in items])

    return run


def _peer(coco: dict[str, Any], side: int) -> Batches:
    objects = _polygons(coco)
    transforms = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomHorizontalFlip(0.5),
            v2.ToDtype(torch.float, scale=True),
            v2.ToPureTensor(),
        ]
    )
    resize = GeneralizedRCNNTransform(side, LARGEST, list(MEAN), list(STD)).train()

    def item(image: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        picture = Image.open(image["file_name"]).convert("RGB")
        return transforms(picture, _target(objects[Path(image["file_name"]).name], *picture.size))

    def run() -> None:
        for start in range(0, len(coco["images"]), BATCH):
            items = [item(image) for image in coco["images"][start : start + BATCH]]
            resize([picture for picture, _ in items], [target for _, target in items])

    return run


def _polygons(coco: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """File name -> the objects as COCO has them, without crowd regions."""
    raw = json.loads((DATA / "annotations.json").read_text(encoding="utf-8"))
    names = {image["id"]: Path(image["file_name"]).name for image in raw["images"]}
    found: dict[str, list[dict[str, Any]]] = {Path(i["file_name"]).name: [] for i in coco["images"]}
    for annotation in raw["annotations"]:
        if names[annotation["image_id"]] in found and not annotation["iscrowd"]:
            found[names[annotation["image_id"]]].append(annotation)
    return found


def _target(objects: list[dict[str, Any]], width: int, height: int) -> dict[str, Any]:
    boxes = torch.tensor([o["bbox"] for o in objects], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes[:, 0::2].clamp_(0, width)
    boxes[:, 1::2].clamp_(0, height)
    masks = []
    for one in objects:
        shape = one["segmentation"]
        rings = rle.frPyObjects(shape, height, width) if isinstance(shape, list) else [shape]
        masks.append(torch.as_tensor(rle.decode(rings), dtype=torch.uint8).any(dim=2))
    stack = torch.stack(masks) if masks else torch.zeros((0, height, width), dtype=torch.uint8)
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "labels": torch.tensor([o["category_id"] for o in objects], dtype=torch.int64),
        "masks": tv_tensors.Mask(stack),
    }
