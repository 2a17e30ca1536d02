"""What lies on a crowd region is neither an object nor background, in either stage of the loss."""

from pathlib import Path

import pytest
import torch
from pycocotools import mask as rle
from torch import Tensor

from maskline.dataset import PreparedDataset
from maskline.models import build_model
from maskline.models.crowds import crowd_share, ignore_crowds
from maskline.settings import complete
from maskline.training_data import TrainingDataset

LIGHT = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 64,
    "max_size": 64,
    "advanced_settings": {"pretrained_weights": "none"},
}


def crowd(height: int = 64, width: int = 64, left: int = 32) -> Tensor:
    """A crowd region right of a column."""
    mask = torch.zeros(1, height, width, dtype=torch.uint8)
    mask[:, :, left:] = 1
    return mask


def test_share_of_a_box_on_crowd_regions() -> None:
    boxes = torch.tensor(
        [
            [40.0, 0, 60, 10],  # all of it
            [22, 5, 42, 15],  # half
            [27, 0, 37, 64],  # half
            [29, 0, 33, 8],  # a quarter
            [0, 0, 32, 64],  # none
            [54, 0, 74, 10],  # half, the other half is outside the picture
            [40, 10, 40, 20],  # no area
        ]
    )
    assert crowd_share(boxes, crowd()).tolist() == [1, 0.5, 0.5, 0.25, 0, 0.5, 0]


def test_regions_are_united() -> None:
    regions = torch.cat([crowd(left=32), crowd(left=48)])
    assert crowd_share(torch.tensor([[32.0, 0, 64, 64]]), regions).tolist() == [1]


def test_only_background_is_ignored() -> None:
    boxes = torch.tensor([[40.0, 0, 60, 10], [40, 0, 60, 10], [0, 0, 20, 10], [40, 0, 60, 10]])
    labels = torch.tensor([0, 2, 0, -1])
    (found,) = ignore_crowds([labels], [boxes], [{"crowds": crowd()}])
    assert found.tolist() == [-1, 2, 0, -1]
    for without in ({}, {"crowds": crowd()[:0]}):
        assert ignore_crowds([labels], [boxes], [without])[0].tolist() == labels.tolist()


@pytest.fixture
def spied(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.nn.Module, dict[str, list]]:
    """A model, and the places and labels that its two samplers draw from."""
    torch.manual_seed(0)
    model = build_model(complete(LIGHT), 2).train()
    seen: dict[str, list] = {"rpn": [], "heads": []}
    for name, part in (("rpn", model.rpn), ("heads", model.roi_heads)):
        method = "assign_targets_to_anchors" if name == "rpn" else "assign_targets_to_proposals"
        original = getattr(part, method)

        def spy(places, *rest, name=name, original=original):  # type: ignore[no-untyped-def]
            found = original(places, *rest)
            seen[name].append((places[0], found[0 if name == "rpn" else 1][0]))
            return found

        monkeypatch.setattr(part, method, spy)
    return model, seen


def target(crowds: Tensor) -> dict[str, Tensor]:
    mask = torch.zeros(1, 64, 64, dtype=torch.uint8)
    mask[:, 8:40, 36:60] = 1
    return {
        "boxes": torch.tensor([[36.0, 8, 60, 40]]),
        "labels": torch.tensor([2]),
        "masks": mask,
        "crowds": crowds,
    }


def test_both_stages_leave_crowds_out(spied: tuple) -> None:
    model, seen = spied
    picture = torch.rand(3, 64, 64)
    model([picture], [target(crowd())])
    model([picture], [target(crowd()[:0])])
    for stage in ("rpn", "heads"):
        (places, labels), (_, without) = seen[stage]
        covered = crowd_share(places, crowd()) >= 0.5
        assert (labels[covered & (labels <= 0)] == -1).all()
        assert (covered & (labels == -1)).sum() > 3
        assert (labels > 0).sum() > 0  # the labelled object on the crowd region is still learnt
        if stage == "rpn":
            assert torch.equal(labels[~covered], without[~covered])
            assert ((without == 0) & covered).any()


def test_the_loss_does_not_depend_on_what_a_crowd_region_shows(spied: tuple) -> None:
    """Its gradient on the objectness of an anchor is 0 where the anchor lies on a crowd region."""
    model, seen = spied
    images = model.transform([torch.rand(3, 64, 64)], [target(crowd())])
    features = list(model.backbone(images[0].tensors).values())
    objectness, deltas = model.rpn.head(features)
    for level in objectness:
        level.retain_grad()
    anchors = model.rpn.anchor_generator(images[0], features)
    labels, boxes = model.rpn.assign_targets_to_anchors(anchors, images[1])
    from torchvision.models.detection.rpn import concat_box_prediction_layers

    flat, flat_deltas = concat_box_prediction_layers(objectness, deltas)
    flat.retain_grad()
    regression = model.rpn.box_coder.encode(boxes, anchors)
    sum(model.rpn.compute_loss(flat, flat_deltas, labels, regression)).backward()
    covered = crowd_share(anchors[0], crowd()) >= 0.5
    ignored = covered & (labels[0] < 0)
    assert ignored.any()
    assert (flat.grad[ignored] == 0).all()
    assert (flat.grad[~ignored] != 0).any()


def test_a_picture_that_is_all_crowd_teaches_nothing(spied: tuple) -> None:
    model, _ = spied
    nothing = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.int64),
        "masks": torch.zeros(0, 64, 64, dtype=torch.uint8),
        "crowds": torch.ones(1, 64, 64, dtype=torch.uint8),
    }
    losses = model([torch.rand(3, 64, 64)], [nothing])
    assert losses["loss_classifier"].item() == losses["loss_mask"].item() == 0
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()


def test_crowds_come_at_the_size_that_the_network_works_on(tiny_prepared: Path) -> None:
    coco = PreparedDataset.read(tiny_prepared).coco("train")
    crowded = {**coco, "annotations": [{**a, "iscrowd": 1} for a in coco["annotations"]]}
    settings = complete({**LIGHT, "min_size": 32, "max_size": 32})
    picture, target = TrainingDataset(crowded, settings)[0]
    images, (seen,) = build_model(settings, 1).train().transform([picture], [target])
    own = [a["segmentation"] for a in coco["annotations"] if a["image_id"] == coco["images"][0]["id"]]
    whole = rle.decode(rle.merge(own)).mean()
    assert seen["crowds"].shape == (1, 32, 32)
    assert images.image_sizes == [(32, 32)]
    assert seen["crowds"].float().mean().item() == pytest.approx(whole, abs=0.05)
