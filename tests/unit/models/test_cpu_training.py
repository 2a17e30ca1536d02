"""What training on a CPU computes by another way than torchvision is what torchvision computes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign

from maskline.models import build_model
from maskline.models.maskrcnn import Recipe, assemble, backbone
from maskline.models.region_features import GatheredRoIAlign, plain_cpu
from maskline.models.sparse_gradients import MOST, SparselyTrainedConv2d
from maskline.settings import TrainingSettings, complete

Target = dict[str, Tensor]
Batch = tuple[list[Tensor], list[Target]]


@pytest.fixture(autouse=True)
def doubles() -> Iterator[None]:
    """In double precision rounding is far below any mistake."""
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    yield
    torch.set_default_dtype(torch.float32)


def test_only_full_precision_on_a_cpu_goes_another_way() -> None:
    assert plain_cpu(torch.zeros(1))
    assert not plain_cpu(torch.zeros(1, dtype=torch.bfloat16))
    assert not plain_cpu(torch.zeros(1, device="meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not plain_cpu(torch.zeros(1))


class TestRegionFeatures:
    NAMES = ("0", "1", "2", "3")

    def pyramid(self, height: int, width: int, pictures: int = 2) -> dict[str, Tensor]:
        maps = [torch.rand(pictures, 5, -(-height // 2**n), -(-width // 2**n)) for n in range(2, 6)]
        return {name: level.requires_grad_() for name, level in zip(self.NAMES, maps, strict=True)}

    def compare(self, maps: dict[str, Tensor], boxes: list[Tensor], size: tuple[int, int], bins: int) -> None:
        names = list(maps)
        found, gradients = [], []
        for kind in (MultiScaleRoIAlign, GatheredRoIAlign):
            pool = kind(names, bins, 2).train()
            features = pool(maps, boxes, [size] * len(boxes))
            torch.manual_seed(1)
            weighted = (features * torch.rand(features.shape)).sum()
            found.append(features)
            gradients.append(torch.autograd.grad(weighted, list(maps.values())))
        assert found[0].shape == found[1].shape == (sum(map(len, boxes)), 5, bins, bins)
        torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("size", [(64, 64), (96, 160), (416, 288), (33, 70)])
    @pytest.mark.parametrize("bins", [7, 14])
    def test_boxes_of_every_size(self, size: tuple[int, int], bins: int) -> None:
        height, width = size
        corners = torch.rand(2, 40, 2, 2) * torch.tensor([width, height]) * 1.2 - 8  # some beyond the picture
        boxes = list(torch.cat((corners.amin(2), corners.amax(2)), 2))
        self.compare(self.pyramid(height, width), boxes, size, bins)

    @pytest.mark.parametrize(
        "box",
        [
            [0, 0, 64, 64],
            [10, 10, 10, 10],
            [0, 0, 0.5, 0.5],
            [63.5, 63.5, 64, 64],
            [-4, -4, 3, 3],
            [-40, -40, -30, -30],
            [60, 60, 68.001, 68.001],
            [90, 10, 99, 20],
            [4, 8, 32, 36],
        ],
    )
    def test_boxes_at_the_borders(self, box: list[float]) -> None:
        self.compare(self.pyramid(64, 64, 1), [torch.tensor([box], dtype=torch.float64)], (64, 64), 7)

    def test_a_picture_without_boxes(self) -> None:
        boxes = [torch.zeros(0, 4), torch.tensor([[3.0, 4.0, 40.0, 50.0]])]
        self.compare(self.pyramid(64, 64), boxes, (64, 64), 14)

    def test_no_boxes_at_all(self) -> None:
        self.compare(self.pyramid(64, 64), [torch.zeros(0, 4)] * 2, (64, 64), 14)

    def test_a_single_map(self) -> None:
        maps = {"0": torch.rand(1, 5, 16, 16, requires_grad=True)}
        self.compare(maps, [torch.tensor([[3.0, 4.0, 40.0, 50.0]])], (64, 64), 7)

    def test_outside_of_training_it_is_torchvisions(self, monkeypatch: pytest.MonkeyPatch) -> None:
        maps, boxes = self.pyramid(64, 64), [torch.tensor([[3.0, 4.0, 40.0, 50.0]])] * 2
        pool = GatheredRoIAlign(self.NAMES, 7, 2).eval()
        monkeypatch.setattr(GatheredRoIAlign, "_positions", None)
        theirs = MultiScaleRoIAlign(self.NAMES, 7, 2)
        assert torch.equal(pool(maps, boxes, [(64, 64)] * 2), theirs(maps, boxes, [(64, 64)] * 2))


class TestSparseGradients:
    def gradients(self, layer: nn.Module, maps: Tensor, given: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(layer(maps), [maps, *layer.parameters()], given)

    def compare(self, share: Tensor, **kind: int) -> None:
        theirs = nn.Conv2d(5, 6, 3, padding=1)
        ours = SparselyTrainedConv2d(5, 6, 3, padding=1)
        ours.load_state_dict(theirs.state_dict())
        maps = torch.rand(len(share), 5, *share.shape[1:], requires_grad=True)
        assert torch.equal(ours(maps), theirs(maps))
        given = torch.rand(len(share), 6, *share.shape[1:]) * share[:, None]
        expected = self.gradients(theirs, maps, given)
        torch.testing.assert_close(self.gradients(ours, maps, given), expected, rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize("share", [0.0, 0.01, MOST - 0.05, MOST + 0.05, 1.0])
    def test_any_share_of_positions(self, share: float) -> None:
        self.compare(torch.rand(2, 21, 34) < share)

    @pytest.mark.parametrize("corner", [(0, 0), (0, -1), (-1, 0), (-1, -1), (0, 3), (4, -1)])
    def test_positions_at_the_border(self, corner: tuple[int, int]) -> None:
        some = torch.zeros(2, 8, 9, dtype=torch.bool)
        some[(1, *corner)] = True
        self.compare(some)

    def test_a_gradient_that_is_no_number_is_not_lost(self) -> None:
        layer = SparselyTrainedConv2d(2, 2, 3, padding=1)
        given = torch.zeros(1, 2, 9, 9)
        given[0, 0, 4, 4] = torch.nan
        maps = torch.rand(1, 2, 9, 9, requires_grad=True)
        assert all(found.isnan().any() for found in self.gradients(layer, maps, given))

    def test_frozen_weights_have_none(self) -> None:
        layer = SparselyTrainedConv2d(2, 2, 3, padding=1).requires_grad_(False)
        maps = torch.rand(1, 2, 9, 9, requires_grad=True)
        layer(maps)[0, 0, 4, 4].backward()
        assert maps.grad is not None
        assert layer.weight.grad is None


NARROW = Recipe(fpn=8, box_head=16, mask_head=(8, 8), proposals_train=200, rois=64)


def narrow(proposal_convolutions: int) -> tuple[nn.Module, nn.Module]:
    """The same small network twice: as Maskline assembles it, and as torchvision does."""

    def parts() -> dict[str, Any]:
        torch.manual_seed(0)
        return {
            "backbone": backbone("resnet18", NARROW, settings()),
            "rpn_head": RPNHead(NARROW.fpn, 3, conv_depth=proposal_convolutions),
            "box_head": TwoMLPHead(NARROW.fpn * 7 * 7, NARROW.box_head),
            "box_predictor": FastRCNNPredictor(NARROW.box_head, 3),
            "mask_head": MaskRCNNHeads(NARROW.fpn, NARROW.mask_head, 1),
            "mask_predictor": MaskRCNNPredictor(NARROW.mask_head[-1], 8, 3),
        }

    heads = parts()
    ours = assemble(heads.pop("backbone"), heads, NARROW, settings())
    assert {type(ours.roi_heads.box_roi_pool), type(ours.roi_heads.mask_roi_pool)} == {GatheredRoIAlign}
    assert sum(type(layer) is SparselyTrainedConv2d for layer in ours.modules()) == proposal_convolutions
    limits = dict.fromkeys(("rpn_pre_nms_top_n_train", "rpn_post_nms_top_n_train"), NARROW.proposals_train)
    theirs = MaskRCNN(**parts(), **limits, min_size=64, max_size=256, box_batch_size_per_image=NARROW.rois)
    return ours, theirs


def whole(name: str) -> tuple[nn.Module, nn.Module]:
    """A registered model, and torchvision's from its public builders."""
    ours = build_model(settings(model_name=name), 2)
    sizes = {"num_classes": 3, "min_size": 64, "max_size": 256}
    if name == "maskrcnn_resnet50_fpn_v2":
        theirs = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **sizes)
    else:
        trunk = resnet_fpn_backbone(
            backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
        )
        theirs = MaskRCNN(trunk, **sizes)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def settings(**chosen: object) -> TrainingSettings:
    advanced = {"pretrained_weights": "none"}
    return complete({"min_size": 64, "max_size": 256, "advanced_settings": advanced, **chosen})


def picture(size: tuple[int, int], objects: int) -> tuple[Tensor, Target]:
    height, width = size
    corners = torch.rand(objects, 2) * 20
    boxes = torch.cat((corners, corners + 12 + torch.rand(objects, 2) * 28), 1)
    masks = torch.zeros(objects, height, width, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.long().tolist(), strict=True):
        mask[y1:y2, x1 : (x1 + x2) // 2] = 1
    labels = torch.randint(1, 3, (objects,))
    return torch.rand(3, height, width), {"boxes": boxes, "labels": labels, "masks": masks}


def losses_and_gradients(model: nn.Module, batch: Batch) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    # torchvision's resizing draws a random number, too: both models sample from here on.
    seeded = model.rpn.register_forward_pre_hook(lambda *_: torch.manual_seed(1) and None)
    losses = model.double().train()(*batch)
    seeded.remove()
    sum(losses.values()).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def compare(models: tuple[nn.Module, nn.Module], sizes: list[tuple[int, int]], objects: list[int]) -> None:
    pictures, targets = zip(*map(picture, sizes, objects), strict=True)
    (losses, gradients), (expected_losses, expected) = (
        losses_and_gradients(model, (list(pictures), list(targets))) for model in models
    )
    torch.testing.assert_close(losses, expected_losses, rtol=1e-10, atol=1e-10)
    assert gradients.keys() == expected.keys()
    for name, gradient in expected.items():
        error = (gradients[name] - gradient).abs().max()
        assert error <= 1e-9 * gradient.abs().max(), name


@pytest.mark.parametrize("proposal_convolutions", [1, 2])
@pytest.mark.parametrize(
    ("sizes", "objects"),
    [
        ([(64, 64), (64, 96)], [3, 5]),
        ([(80, 64), (64, 64)], [0, 2]),
        ([(64, 160)], [4]),
        ([(64, 64)], [0]),
        ([(64, 64), (64, 64)], [0, 0]),
    ],
)
def test_losses_and_every_gradient_are_torchvisions(
    proposal_convolutions: int, sizes: list[tuple[int, int]], objects: list[int]
) -> None:
    compare(narrow(proposal_convolutions), sizes, objects)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn_resnet18_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_registered_models_too(name: str) -> None:
    compare(whole(name), [(64, 64), (64, 96)], [3, 0])
