"""Pictures of a prepared data set as tensors, one by one and in batches."""

import ctypes
import gc
import signal
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2.functional import pil_to_tensor

from .pictures import open_upright

Sample = tuple[Tensor, dict[str, Any]]
"""A picture and its target: tensors by name, masks perhaps packed."""


class PictureDataset(Dataset[Sample]):
    """Pictures as they are.

    An item is an upright picture, uint8 (3, H, W), and a target with nothing but image_id (1,) int64.

    Args:
        coco: one split of a prepared data set (`PreparedDataset.coco`).
    """

    def __init__(self, coco: dict[str, Any]) -> None:
        self.images: list[dict[str, Any]] = coco["images"]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        image = self.images[index]
        picture = pil_to_tensor(open_upright(image["file_name"]))
        return picture, {"image_id": torch.tensor([image["id"]])}


def random_key(*numbers: int) -> int:
    """One seed from several numbers: what is drawn with it depends on them only."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def collate(samples: list[Sample]) -> tuple[list[Tensor], list[dict[str, Any]]]:
    """Pictures of different sizes stay a list."""
    return [picture for picture, _ in samples], [target for _, target in samples]


def loader(
    dataset: PictureDataset,
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
    if workers:
        _give_memory_back()
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
    gc.freeze()  # who looks through what was there before, writes to its pages and so gets copies of them


def _give_memory_back() -> None:
    """Let the system have what was freed: a process that is forked would keep it for as long as it lives."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)
