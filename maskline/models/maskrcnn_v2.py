"""Mask R-CNN as torchvision's second recipe has it: Li et al. 2021, https://arxiv.org/abs/2111.11429.

It differs from the first in what follows the backbone: batch normalisation in the feature pyramid and in both
heads, a second convolution before proposals, and four convolutions with one fully connected layer where the
first has two fully connected layers.
"""

from typing import Any

from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNN, MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead

from maskline.settings import TrainingSettings

from .maskrcnn import STANDARD, anchors, assemble, backbone

BOX_CONVOLUTIONS = [256] * 4
PROPOSAL_CONVOLUTIONS = 2


def mask_rcnn_v2(settings: TrainingSettings, number_of_classes: int) -> MaskRCNN:
    """A Mask R-CNN on ResNet-50 whose tensors have the names and shapes of `maskrcnn_resnet50_fpn_v2`."""
    recipe, classes, norm = STANDARD, number_of_classes + 1, nn.BatchNorm2d
    each = anchors(recipe).num_anchors_per_location()[0]
    heads: dict[str, Any] = {
        "rpn_head": RPNHead(recipe.fpn, each, conv_depth=PROPOSAL_CONVOLUTIONS),
        "box_head": FastRCNNConvFCHead(
            (recipe.fpn, 7, 7), BOX_CONVOLUTIONS, [recipe.box_head], norm_layer=norm
        ),
        "box_predictor": FastRCNNPredictor(recipe.box_head, classes),
        "mask_head": MaskRCNNHeads(recipe.fpn, recipe.mask_head, 1, norm_layer=norm),
        "mask_predictor": MaskRCNNPredictor(recipe.mask_head[-1], recipe.mask_head[-1], classes),
    }
    return assemble(backbone("resnet50", recipe, settings, norm), heads, recipe, settings)
