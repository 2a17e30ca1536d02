"""Weights that torchvision publishes, by the model that starts from them."""

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor
from torchvision.models import (
    ResNet18_Weights,
    ResNet34_Weights,
    ResNet50_Weights,
    ResNet101_Weights,
    ResNet152_Weights,
    Weights,
)
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, MaskRCNN_ResNet50_FPN_Weights

from maskline.errors import WeightsError

BACKBONES = {
    "maskrcnn_resnet18_fpn": ResNet18_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet18_fpn_light": ResNet18_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet34_fpn": ResNet34_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet50_fpn": ResNet50_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet50_fpn_v2": ResNet50_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet101_fpn": ResNet101_Weights.IMAGENET1K_V1,
    "maskrcnn_resnet152_fpn": ResNet152_Weights.IMAGENET1K_V1,
}
DETECTORS = {
    "maskrcnn_resnet50_fpn": MaskRCNN_ResNet50_FPN_Weights.COCO_V1,
    "maskrcnn_resnet50_fpn_v2": MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1,
}
INSTEAD = (
    "or set advanced_settings.pretrained_weights to a file or URI you can reach, "
    "or to none to train from scratch"
)
"""What to do when weights can't be had."""


def published(weights: Weights) -> Mapping[str, Tensor]:
    """Weights from torchvision's download cache (`$TORCH_HOME/hub/checkpoints`), or from the network.

    Raises:
        WeightsError: they can't be had; says why and what to do instead.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / os.path.basename(weights.url)
    try:
        found: Mapping[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, weights_only=True
        )
    except (URLError, OSError, RuntimeError) as error:
        raise WeightsError(
            f"the weights {weights} can't be had from {weights.url}: {error}; "
            f"put the file at {file}, {INSTEAD}"
        ) from error
    return found
