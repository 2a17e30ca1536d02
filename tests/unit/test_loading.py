"""Pictures as tensors, and batches of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from maskline.dataset import PreparedDataset
from maskline.loading import PictureDataset, loader
from maskline.pictures import open_upright
from maskline.settings import complete
from maskline.training_data import TrainingDataset


@pytest.fixture
def coco(tiny_prepared: Path) -> dict:
    return PreparedDataset.read(tiny_prepared).coco("train")


def test_pictures_are_as_they_are(coco: dict) -> None:
    for (picture, target), image in zip(PictureDataset(coco), coco["images"], strict=True):
        assert np.array_equal(picture.permute(1, 2, 0).numpy(), np.asarray(open_upright(image["file_name"])))
        assert target["image_id"].tolist() == [image["id"]]


def test_loader_processes_see_the_epoch_and_change_nothing(coco: dict) -> None:
    def pictures(workers: int) -> list[torch.Tensor]:
        dataset = TrainingDataset(coco, complete({}), augment=True, seed=3)
        batches = loader(dataset, batch_size=2, workers=workers, batches=[[3, 0], [1], [2, 5]])
        found = []
        for epoch in (1, 2):
            dataset.set_epoch(epoch)
            found += [picture for batch, _ in batches for picture in batch]
        return found

    alone, helped = pictures(0), pictures(2)
    assert len(alone) == 2 * 5
    assert all(torch.equal(a, b) for a, b in zip(alone, helped, strict=True))
    half = len(alone) // 2
    assert not all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(alone[:half], alone[half:], strict=True)
    )
