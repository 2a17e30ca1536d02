"""The registered models: a name -> what its family brings."""

from collections.abc import Mapping

from torch import nn

from maskline.errors import JobError
from maskline.settings import TrainingSettings

from .family import Family
from .maskrcnn import LIGHT, STANDARD, mask_rcnn
from .maskrcnn_family import MaskRCNNFamily
from .maskrcnn_v2 import mask_rcnn_v2
from .rfdetr_family import RfDetrFamily

MODELS: Mapping[str, Family] = {
    "maskrcnn_resnet18_fpn": MaskRCNNFamily(mask_rcnn("resnet18", STANDARD)),
    "maskrcnn_resnet18_fpn_light": MaskRCNNFamily(mask_rcnn("resnet18", LIGHT)),
    "maskrcnn_resnet34_fpn": MaskRCNNFamily(mask_rcnn("resnet34", STANDARD)),
    "maskrcnn_resnet50_fpn": MaskRCNNFamily(mask_rcnn("resnet50", STANDARD)),
    "maskrcnn_resnet50_fpn_v2": MaskRCNNFamily(mask_rcnn_v2),
    "maskrcnn_resnet101_fpn": MaskRCNNFamily(mask_rcnn("resnet101", STANDARD)),
    "maskrcnn_resnet152_fpn": MaskRCNNFamily(mask_rcnn("resnet152", STANDARD)),
    "rfdetr_seg": RfDetrFamily(),
}


def build_model(settings: TrainingSettings, number_of_classes: int) -> nn.Module:
    """A model with random weights, as the settings ask for it.

    Args:
        settings: model_name, min_size, max_size, thresholds and the choice of weights are read.
        number_of_classes: without the background, which is label 0.

    Returns:
        A module with torchvision's detection interface: in training a list of float pictures (3, H, W) in
        0 ... 1 and a list of targets -> a dictionary of losses; in evaluation a list of pictures -> a list
        of dictionaries with boxes (n, 4) in pixels, labels (n), scores (n), masks (n, 1, H, W).

    Raises:
        JobError: no model of that name is registered.
    """
    return family_of(settings.model_name).build(settings, number_of_classes)


def family_of(model_name: str) -> Family:
    """What the family of a model brings.

    Raises:
        JobError: no model of that name is registered.
    """
    found = MODELS.get(model_name)
    if found is None:
        raise JobError(
            f"model_name={model_name} is not a registered model; choose one of {', '.join(MODELS)}"
        )
    return found
