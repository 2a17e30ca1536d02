"""Mask R-CNN on ResNet-FPN backbones, from torchvision's parts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torchvision
from torch import nn
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import FrozenBatchNorm2d

from maskline.settings import TrainingSettings, weights_wanted

from .crowds import CrowdAwareHeads
from .proposals import LogitRankedProposals
from .region_features import GatheredRoIAlign
from .resizing import ExactTransform
from .sparse_gradients import SparselyTrainedConv2d

STAGES = ("conv1", "layer1", "layer2", "layer3", "layer4")
"""What `layers_to_freeze` counts, from the input on; `bn1` goes with `conv1`."""


@dataclass(frozen=True)
class Recipe:
    """How wide a Mask R-CNN is, and how many regions it works on.

    Attributes:
        fpn: channels of the feature pyramid.
        box_head: width of the box head's two layers.
        mask_head: channels of the mask head's convolutions.
        anchors: side in pixels of the anchors of the five pyramid levels.
        proposals_train, proposals_test: regions kept by the RPN, a picture.
        rois: regions the heads are trained on, a picture.
    """

    fpn: int = 256
    box_head: int = 1024
    mask_head: tuple[int, ...] = (256, 256, 256, 256)
    anchors: tuple[int, ...] = (32, 64, 128, 256, 512)
    proposals_train: int = 2000
    proposals_test: int = 1000
    rois: int = 512


STANDARD = Recipe()
"""As torchvision's `maskrcnn_resnet50_fpn`: He et al. 2017, https://arxiv.org/abs/1703.06870."""
LIGHT = Recipe(
    fpn=64,
    box_head=256,
    mask_head=(64, 64),
    anchors=(16, 32, 64, 128, 256),
    proposals_train=500,
    proposals_test=250,
    rois=64,
)
"""For CPUs and edge devices. The mask head is most of a step's cost, so it is the narrowest."""


def mask_rcnn(resnet: str, recipe: Recipe) -> Callable[[TrainingSettings, int], MaskRCNN]:
    """A builder of Mask R-CNN on the named ResNet of torchvision."""
    return partial(_build, resnet, recipe)


def _build(resnet: str, recipe: Recipe, settings: TrainingSettings, number_of_classes: int) -> MaskRCNN:
    trunk = backbone(resnet, recipe, settings)  # first: a seed gives the same weights as it always did
    classes = number_of_classes + 1
    heads: dict[str, Any] = {
        "box_head": TwoMLPHead(recipe.fpn * 7 * 7, recipe.box_head),
        "box_predictor": FastRCNNPredictor(recipe.box_head, classes),
        "mask_head": MaskRCNNHeads(recipe.fpn, recipe.mask_head, 1),
        "mask_predictor": MaskRCNNPredictor(recipe.mask_head[-1], recipe.mask_head[-1], classes),
    }
    return assemble(trunk, heads, recipe, settings)


def anchors(recipe: Recipe) -> AnchorGenerator:
    """Anchors of three shapes, of one size on each level of the pyramid."""
    return AnchorGenerator(
        tuple((side,) for side in recipe.anchors), ((0.5, 1.0, 2.0),) * len(recipe.anchors)
    )


def assemble(
    backbone: nn.Module, heads: Mapping[str, Any], recipe: Recipe, settings: TrainingSettings
) -> MaskRCNN:
    """A Mask R-CNN of these parts, with resizing, proposals and heads as all of Maskline's have them.

    Args:
        backbone: gives the pyramid's levels by name.
        heads: those arguments of torchvision's `MaskRCNN` that say what its heads are.
        recipe: how many regions it works on.
        settings: min_size, max_size and the thresholds are read.
    """
    model = MaskRCNN(
        backbone,
        rpn_anchor_generator=anchors(recipe),
        **heads,
        rpn_pre_nms_top_n_train=recipe.proposals_train,
        rpn_post_nms_top_n_train=recipe.proposals_train,
        rpn_pre_nms_top_n_test=recipe.proposals_test,
        rpn_post_nms_top_n_test=recipe.proposals_test,
        box_batch_size_per_image=recipe.rois,
        box_score_thresh=settings.box_score_threshold,
        box_nms_thresh=settings.nms_iou_threshold,
        box_detections_per_img=settings.box_detections_per_image,
    )
    model.transform = ExactTransform(settings.min_size, settings.max_size)
    model.rpn.__class__ = LogitRankedProposals  # the same network; only the ranking is another
    model.roi_heads.__class__ = CrowdAwareHeads  # likewise
    # The same numbers by a quicker way, for training on a CPU only.
    for pool in (model.roi_heads.box_roi_pool, model.roi_heads.mask_roi_pool):
        pool.__class__ = GatheredRoIAlign
        pool.know_scales()
    for layer in model.rpn.head.conv.modules():
        if isinstance(layer, nn.Conv2d):
            layer.__class__ = SparselyTrainedConv2d
    return model


def backbone(
    resnet: str,
    recipe: Recipe,
    settings: TrainingSettings,
    pyramid_norm: Callable[[int], nn.Module] | None = None,
) -> BackboneWithFPN:
    """A ResNet of torchvision and a feature pyramid, frozen as the settings say.

    Args:
        resnet: its name.
        recipe: channels of the pyramid.
        settings: layers_to_freeze and where training starts are read.
        pyramid_norm: makes the normalisation after each convolution of the pyramid; None for none.
    """
    # Batch statistics of two pictures would spoil those of a pre-trained backbone; a new one needs them.
    pretrained = weights_wanted(settings) != "none" or settings.checkpoint_run_id is not None
    body = torchvision.models.get_model(
        resnet, weights=None, norm_layer=FrozenBatchNorm2d if pretrained else nn.BatchNorm2d
    )
    frozen = settings.layers_to_freeze
    if frozen is None:
        frozen = 2 if pretrained else 0
    for stage in STAGES[:frozen]:
        getattr(body, stage).requires_grad_(False)
        if stage == "conv1":
            body.bn1.requires_grad_(False)
    widths = [body.inplanes // 2**power for power in (3, 2, 1, 0)]
    returned = {f"layer{i}": str(i - 1) for i in range(1, 5)}
    return BackboneWithFPN(body, returned, widths, recipe.fpn, norm_layer=pyramid_norm)
