"""What the quick data path costs in AP.

Ours decodes JPEG files at a fraction of their size, keeps the resized pictures in a cache, and looks masks
up at the network's size. The full path: Pillow decodes the whole picture, each object has a mask of the
picture's size, and both are resized, pictures bilinear and smoothed (as detection does; torchvision's own
transform doesn't smooth), masks by the nearest pixel.

The claim in its exact form is about one model: the same weights, asked about the same pictures, which come
by one path and by the other. Pairs of trainings from the same seeds, on the same pictures in the same order
with the same flips, show the paths' difference and the chaos of training together: the interval of their mean
is printed, and no target stands beside it, since it is wider than any that would matter.

All 18 pictures of fruits_nuts are judged, those that were trained on among them: the few others alone would
say nothing. They are of 800 x 600 pixels, and 144 is the size at which half of them is just enough for
`training_data.DECODED`, where the decoder's own smoothing shows most. Each is judged in four orientations: on
18 pictures the rounding of pixels to bytes alone moves AP by 0.2 points; it is told beside the difference.
Mask AP at IoU 0.50 to 0.95.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2.functional import pil_to_tensor

from maskline import training_data
from maskline.artifacts import TrialDirectory
from maskline.augmentation import View, whole
from maskline.checkpoint import restore
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.sweep_trial import train as room
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.dataset import PreparedDataset
from maskline.loading import Sample
from maskline.metrics import coco_scores
from maskline.models import family_of
from maskline.prediction import predict
from maskline.settings import complete
from maskline.training_data import TrainingDataset

from .harness import Figure

DATA = (Path(__file__).parents[2] / "../shared/data/fruits_nuts").resolve()
EPOCHS = 40
SEEDS = range(4)
STUDENT = 3.182
"""Student's t of as many seeds, less one: 97.5 % lie below it."""
TURNS: dict[int, tuple[int, ...]] = {1: (), 2: (1,), 3: (0, 1), 4: (0,)}
"""EXIF orientation: the axes of a mask (height, width) that it turns round."""
LIMIT = 0.002
"""0.2 points of AP."""
CHOSEN = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 144,
    "max_size": 192,
    "training_batch_size": 2,
    "optimizer": "adamw",
    "learning_rate": 7e-4,
    "number_of_epochs": EPOCHS,
    "number_of_workers": 0,
    "validation_metric_type": "none",
    "advanced_settings": {"pretrained_weights": "none", "cache_mib": 64},
}


def measure() -> Iterator[Figure]:
    """Models asked by both paths, then pairs of trainings, one by each path."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = prepare(Source(str(DATA), "coco"), None, out=Path(folder) / "data")
        pictures = _turned(_all(data), Path(folder))
        apart, pairs = [], []
        for seed in SEEDS:
            by_full = []
            for kind in (_Quick, _Full):
                model = _trained(kind, data, Path(folder) / f"{kind.__name__}{seed}", seed)
                full, quick, rounded = (
                    100 * _ap(pictures, path(model, pictures))
                    for path in (_by_full_path, _by_quick_path, _by_rounded_path)
                )
                by_full.append(full)
                apart.append(abs(quick - full))
                told = f"{full:.2f}; {quick - full:+.2f} by ours, {rounded - full:+.2f} by rounding alone"
                print(f"data_path_ap: {kind.__name__[1:].lower()}, seed {seed}: AP {told}", flush=True)
            pairs.append(by_full[0] - by_full[1])
        told = f"the largest difference of {len(apart)} models; on the mean {np.mean(apart):.2f} points"
        yield Figure("data_path_ap.same_weights", max(apart) / 100, LIMIT, "lower", told, "AP")
        mean, reach = float(np.mean(pairs)), STUDENT * float(np.std(pairs, ddof=1)) / len(pairs) ** 0.5
        told = f"{mean:+.2f} points of AP, 95 % interval {mean - reach:+.2f} to {mean + reach:+.2f}"
        print(f"data_path_ap: trainings by ours less those by the full path, {len(pairs)} pairs: {told}")


def _all(data: PreparedDataset) -> dict[str, Any]:
    """The pictures of all splits as one, with ids of their own."""
    found: dict[str, Any] = {"images": [], "annotations": [], "categories": data.coco("train")["categories"]}
    for split in data.splits:
        coco = data.coco(split)  # type: ignore[arg-type]
        new = {image["id"]: len(found["images"]) + place for place, image in enumerate(coco["images"], 1)}
        found["images"] += [{**image, "id": new[image["id"]]} for image in coco["images"]]
        for one in coco["annotations"]:
            number = len(found["annotations"]) + 1
            found["annotations"].append({**one, "id": number, "image_id": new[one["image_id"]]})
    return found


def _turned(coco: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Each picture four times: as it is, and turned by what its EXIF data say."""
    found: dict[str, Any] = {**coco, "images": [], "annotations": []}
    for orientation, axes in TURNS.items():
        for image in coco["images"]:
            file = folder / f"{image['id']}-{orientation}.jpg"
            with Image.open(image["file_name"]) as picture:
                exif = picture.getexif()
                exif[0x0112] = orientation
                picture.save(file, quality="keep", exif=exif)
            number = len(found["images"]) + 1
            found["images"].append({**image, "id": number, "file_name": str(file)})
            for one in coco["annotations"]:
                if one["image_id"] == image["id"]:
                    mask = np.flip(rle.decode(one["segmentation"]), axes)
                    code = rle.encode(np.asfortranarray(mask))
                    told = {
                        "id": len(found["annotations"]) + 1,
                        "image_id": number,
                        "segmentation": {**code, "counts": code["counts"].decode()},
                        "bbox": rle.toBbox(code).tolist(),
                    }
                    found["annotations"].append({**one, **told})
    return found


class _Quick(TrainingDataset):
    """Ours, with flips as the only change."""

    def _view(self, random: np.random.Generator, index: int) -> View:
        seen = whole(self._decoded[index], self._sizes[index])
        return View(seen.window, seen.part, seen.canvas, flip=bool(random.random() < 0.5))

    def __getitem__(self, index: int) -> Sample:
        random = np.random.default_rng([self._seed, int(self._epoch), index])
        picture, target = self._seen(index, self._view(random, index))
        return picture, {**target, "image_id": torch.tensor([self.images[index]["id"]])}


class _Full(_Quick):
    """The same pictures in the same order with the same flips, by the full path."""

    def _seen(self, index: int, view: View) -> Sample:
        image, size = self.images[index], view.canvas[::-1]
        picture = pil_to_tensor(Image.open(image["file_name"]).convert("RGB")).float() / 255
        seen = functional.interpolate(
            picture[None], size=size, mode="bilinear", align_corners=False, antialias=True
        )[0]
        objects = self._instances[image["id"]]
        stack = torch.from_numpy(np.stack([rle.decode(one["segmentation"]) for one in objects]))
        masks = functional.interpolate(stack[:, None].float(), size=size)[:, 0].byte()
        boxes = torch.tensor([one["bbox"] for one in objects], dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        boxes *= torch.tensor([size[1] / image["width"], size[0] / image["height"]] * 2)
        if view.flip:
            seen, masks = seen.flip(-1), masks.flip(-1)
            boxes[:, [0, 2]] = size[1] - boxes[:, [2, 0]]
        labels = torch.tensor([one["category_id"] for one in objects])
        return seen, {"boxes": boxes, "labels": labels, "masks": masks, "crowds": masks[:0]}


def _trained(kind: type[TrainingDataset], data: PreparedDataset, folder: Path, seed: int) -> nn.Module:
    with patch.object(room, "TrainingDataset", kind):
        room.train(TrialSpec(CHOSEN, str(data.path), str(folder), seed, deadline=float("inf")))
    return restore(TrialDirectory(folder).best)[0]


def _by_full_path(model: nn.Module, coco: dict[str, Any]) -> list[dict[str, Any]]:
    """As models are always asked: the whole picture is decoded, and the network resizes it."""
    return predict(model, coco, complete(CHOSEN))


def _by_quick_path(model: nn.Module, coco: dict[str, Any]) -> list[dict[str, Any]]:
    """The pictures as training gets them, at the network's size already."""
    settings = complete(CHOSEN)
    family, advanced = family_of(settings.model_name), settings.advanced
    results: list[dict[str, Any]] = []
    for image, (picture, _) in zip(coco["images"], TrainingDataset(coco, settings), strict=True):
        scale = [image["width"] / picture.shape[-1], image["height"] / picture.shape[-2]]
        with (
            torch.inference_mode(),
            family.reporting(model.eval(), advanced.metric_score_threshold, small_masks=True),
        ):
            found: dict[str, Tensor] = model([picture])[0]
        found["boxes"] = found["boxes"] * torch.tensor(scale * 2)
        results += family.results(
            found, image["id"], image["height"], image["width"], advanced.mask_pixel_score_threshold
        )
    return results


def _by_rounded_path(model: nn.Module, coco: dict[str, Any]) -> list[dict[str, Any]]:
    """As training gets them, but from the whole picture: what is left is the rounding to bytes."""
    with patch.object(training_data, "DECODED", 8):
        return _by_quick_path(model, coco)


def _ap(coco: dict[str, Any], found: list[dict[str, Any]]) -> float:
    return coco_scores(coco, found)["AP"]
