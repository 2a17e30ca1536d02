"""The prepared data set as tensors, for training and for prediction."""

import signal
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from .pictures import open_upright

Sample = tuple[Tensor, dict[str, Tensor]]
AUGMENTATIONS = v2.Compose(
    [
        v2.RandomHorizontalFlip(0.5),
        # Mild, and hue all but untouched: in many data sets colour tells the class.
        v2.RandomApply([v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.01)], p=0.5),
    ]
)


class InstanceDataset(Dataset[Sample]):
    """Pictures and the instances on them.

    An item is a float picture (3, H, W) in 0 ... 1 at original size, and a target: boxes (n, 4) float
    x1 y1 x2 y2 in pixels, labels (n,) int64 from 1, masks (n, H, W) uint8, image_id (1,) int64, and crowds
    (k, H, W) uint8: the picture's crowd regions united (k is 1, or 0 if it has none), which are no training
    objects, and no background either.

    Args:
        coco: one split of a prepared data set (`PreparedDataset.coco`).
        augment: change pictures at random, by seed, epoch and index only.
        seed: of the augmentations.
    """

    def __init__(self, coco: dict[str, Any], *, augment: bool = False, seed: int = 0) -> None:
        self.images: list[dict[str, Any]] = coco["images"]
        self._instances: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self._crowds: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for instance in coco["annotations"]:
            kind = self._crowds if instance.get("iscrowd") else self._instances
            kind[instance["image_id"]].append(instance)
        self.augment = augment
        self.seed = seed
        # Shared, so that loader processes that live for the whole training see the epoch too.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes: each has its own augmentations."""
        self._epoch.fill_(epoch)

    @property
    def epoch(self) -> int:
        """The epoch that was set last, 0 before the first."""
        return int(self._epoch)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        picture = v2.functional.pil_to_tensor(open_upright(image["file_name"]))
        instances = self._instances[image["id"]]
        target = _target(instances, *picture.shape[-2:])
        target["crowds"] = _united(self._crowds[image["id"]], *picture.shape[-2:])
        if self.augment:
            picture, target = self._augmented(picture, target, index)
        target["image_id"] = torch.tensor([image["id"]])
        return picture.float() / 255, target

    def _augmented(self, picture: Tensor, target: dict[str, Tensor], index: int) -> Sample:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_key(self.seed, self.epoch, index))
            changed: Sample = AUGMENTATIONS(tv_tensors.Image(picture), target)
        plain = {name: value.as_subclass(Tensor) for name, value in changed[1].items()}
        return changed[0].as_subclass(Tensor), plain


def random_key(*numbers: int) -> int:
    """One seed from several numbers: what is drawn with it depends on them only."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _target(instances: list[dict[str, Any]], height: int, width: int) -> dict[str, Tensor]:
    boxes = torch.tensor([i["bbox"] for i in instances], dtype=torch.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    masks = np.zeros((0, height, width), dtype=np.uint8)
    if instances:
        masks = rle.decode([i["segmentation"] for i in instances]).transpose(2, 0, 1)
    return {
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width)),
        "labels": torch.tensor([i["category_id"] for i in instances], dtype=torch.int64),
        "masks": tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(masks))),
    }


def _united(crowds: list[dict[str, Any]], height: int, width: int) -> tv_tensors.Mask:
    mask = np.zeros((0, height, width), dtype=np.uint8)
    if crowds:
        mask = rle.decode(rle.merge([crowd["segmentation"] for crowd in crowds]))[None]
    return tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(mask)))


def collate(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Pictures of different sizes stay a list."""
    return [picture for picture, _ in samples], [target for _, target in samples]


def loader(
    dataset: InstanceDataset,
    *,
    batch_size: int,
    workers: int,
    batches: Iterable[list[int]] | None = None,
) -> DataLoader[Sample]:
    """Batches of (pictures, targets).

    Args:
        dataset: what to load.
        batch_size: pictures a batch; the last batch may be smaller.
        workers: loading processes; 0 loads in this one.
        batches: the indices of each batch, asked for anew whenever the loader is gone through; they take the
            place of batch_size.
    """
    chosen: dict[str, Any] = {"batch_size": batch_size} if batches is None else {"batch_sampler": batches}
    return DataLoader(
        dataset,
        **chosen,
        generator=torch.Generator(),  # else it draws from the one that training draws from
        num_workers=min(workers, len(dataset)),
        persistent_workers=min(workers, len(dataset)) > 0,
        worker_init_fn=_stay,
        collate_fn=collate,
    )


def _stay(worker: int) -> None:
    """A signal that ends the training is the training's to answer; its loaders end with it."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
