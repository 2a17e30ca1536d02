"""Pictures and targets as tensors."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from maskline.dataset import PreparedDataset
from maskline.loading import InstanceDataset, loader


@pytest.fixture
def coco(tiny_prepared: Path) -> dict:
    return PreparedDataset.read(tiny_prepared).coco("train")


def test_a_sample_is_what_the_annotations_say(coco: dict) -> None:
    dataset = InstanceDataset(coco)
    for index, image in enumerate(coco["images"]):
        picture, target = dataset[index]
        own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
        assert picture.shape == (3, image["height"], image["width"])
        assert 0 <= picture.min() <= picture.max() <= 1
        assert target["labels"].tolist() == [a["category_id"] for a in own]
        assert target["image_id"].tolist() == [image["id"]]
        for annotation, mask, box in zip(own, target["masks"], target["boxes"], strict=True):
            assert np.array_equal(mask.numpy(), rle.decode(annotation["segmentation"]))
            x, y, width, height = annotation["bbox"]
            assert box.tolist() == [x, y, x + width, y + height]


def test_crowd_regions_are_not_trained_on(coco: dict) -> None:
    crowd = {**coco, "annotations": [{**a, "iscrowd": 1} for a in coco["annotations"]]}
    assert all(len(InstanceDataset(crowd)[i][1]["labels"]) == 0 for i in range(len(coco["images"])))
    target = InstanceDataset(crowd)[0][1]
    assert target["boxes"].shape == (0, 4)
    own = [a["segmentation"] for a in coco["annotations"] if a["image_id"] == coco["images"][0]["id"]]
    assert np.array_equal(target["crowds"].numpy(), rle.decode(rle.merge(own))[None])
    height, width = coco["images"][0]["height"], coco["images"][0]["width"]
    assert InstanceDataset(coco)[0][1]["crowds"].shape == (0, height, width)


def test_augmentation_depends_on_seed_epoch_and_index_only(coco: dict) -> None:
    def picture(seed: int, epoch: int) -> torch.Tensor:
        dataset = InstanceDataset(coco, augment=True, seed=seed)
        dataset.set_epoch(epoch)
        torch.manual_seed(np.random.randint(1000))
        return torch.stack([dataset[i][0] for i in range(6)])

    assert torch.equal(picture(1, 1), picture(1, 1))
    assert not torch.equal(picture(1, 1), picture(1, 2))
    assert not torch.equal(picture(1, 1), picture(2, 1))


def test_a_flip_takes_boxes_and_masks_along(coco: dict) -> None:
    plain, changed = InstanceDataset(coco), InstanceDataset(coco, augment=True)
    flipped = 0
    for epoch in range(4):
        changed.set_epoch(epoch)
        for index in range(len(plain)):
            before, after = plain[index][1], changed[index][1]
            if len(before["boxes"]) and not torch.equal(before["masks"], after["masks"]):
                flipped += 1
                assert torch.equal(before["masks"].flip(-1), after["masks"])
                width = before["masks"].shape[-1]
                assert torch.equal(after["boxes"][:, 0], width - before["boxes"][:, 2])
    assert flipped > 3


def test_loader_processes_see_the_epoch_and_change_nothing(coco: dict) -> None:
    def pictures(workers: int) -> list[torch.Tensor]:
        dataset = InstanceDataset(coco, augment=True, seed=3)
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
    assert not all(torch.equal(a, b) for a, b in zip(alone[:half], alone[half:], strict=True))
