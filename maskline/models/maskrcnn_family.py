"""Mask R-CNN as a family: what is asked of its models, whatever their backbone."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNN

from maskline.pasting import paste
from maskline.settings import TrainingSettings

from .compiling import compile_forward
from .family import Found, Size
from .resizing import network_size
from .torchvision_weights import BACKBONES, DETECTORS, published

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class MaskRCNNFamily:
    """A Mask R-CNN; see `Family`.

    Attributes:
        builder: makes the model.
    """

    builder: Callable[[TrainingSettings, int], MaskRCNN]
    class_rows = {
        "roi_heads.box_predictor.cls_score": 1,
        "roi_heads.box_predictor.bbox_pred": 4,
        "roi_heads.mask_predictor.mask_fcn_logits": 1,
    }
    background = True
    diverged_loss = 100.0
    terms = {
        "coco": "Training started from torchvision's weights for COCO (torchvision: BSD-3-Clause; COCO's "
        "annotations: CC BY 4.0; its pictures belong to their authors).",
        "imagenet": "The backbone started from torchvision's weights for ImageNet (torchvision: "
        "BSD-3-Clause; ImageNet's terms of access allow non-commercial research; whether weights inherit "
        "them is unsettled).",
    }

    def build(self, settings: TrainingSettings, number_of_classes: int) -> nn.Module:
        """The model, with random weights."""
        model: nn.Module = self.builder(settings, number_of_classes)
        return model

    def size(self, original: Size, settings: TrainingSettings) -> Size:
        """By min_size and max_size, in the picture's own proportions."""
        return network_size(original, settings.min_size, settings.max_size)

    def backbone(self, model: nn.Module) -> nn.Module:
        """ResNet and feature pyramid."""
        return model.get_submodule("backbone")

    def compile(self, model: nn.Module) -> None:
        """The backbone, with sizes left open: each batch has its own."""
        compile_forward(self.backbone(model), dynamic=True)

    @contextmanager
    def reporting(
        self, model: nn.Module, score_threshold: float, *, small_masks: bool = False
    ) -> Iterator[None]:
        """See `Family`; small masks are (n, 1, 28, 28) in their boxes."""
        heads: Any = model.roi_heads
        transform: Any = model.transform
        before = heads.score_thresh, transform.pastes_masks
        heads.score_thresh, transform.pastes_masks = score_threshold, not small_masks
        try:
            yield
        finally:
            heads.score_thresh, transform.pastes_masks = before

    def results(
        self, found: Found, image_id: int, height: int, width: int, mask_threshold: float
    ) -> list[dict[str, Any]]:
        """See `Family`."""
        boxes = found["boxes"].float().cpu().numpy()
        soft = found["masks"].float().cpu().numpy()
        masks = paste(soft, boxes, height, width, mask_threshold)
        return [
            {
                "image_id": image_id,
                "category_id": int(label),
                "score": float(score),
                "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                "segmentation": mask,
            }
            for box, label, score, mask in zip(
                boxes.tolist(), found["labels"].tolist(), found["scores"].tolist(), masks, strict=True
            )
        ]

    def published(self, settings: TrainingSettings, wanted: str) -> Mapping[str, Tensor]:
        """Those of torchvision: `imagenet` a ResNet classifier's, `coco` a whole detector's."""
        return published((BACKBONES if wanted == "imagenet" else DETECTORS)[settings.model_name])

    def own_names(self, weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
        """A ResNet classifier's tensors belong to the backbone."""
        if "conv1.weight" in weights:
            return {f"backbone.body.{name}": tensor for name, tensor in weights.items()}
        return dict(weights)

    def limit_proposals(self, model: nn.Module, most: int) -> None:
        """The best of them by objectness, see `Family`."""
        network: Any = model.rpn
        own = network._post_nms_top_n
        network._post_nms_top_n = {**own, "testing": min(most, own["testing"])}

    def graph(self, detector: nn.Module, kind: str, limits: Mapping[str, Tensor]) -> "onnx.ModelProto":
        """See `Family`; soft masks are a further output."""
        from .maskrcnn_graph import graph

        return graph(detector, kind, limits)

    def seen(self, detector: nn.Module, picture: Tensor) -> tuple[Tensor, Found]:
        """See `Family`."""
        parts: Any = detector
        image = parts.transform.resize(parts.transform.normalize(picture))[0]
        sizes = [tuple(image.shape[-2:])]
        images = ImageList(parts.transform.batch_images([image]), sizes)
        features = parts.backbone(images.tensors)
        proposals, _ = parts.rpn(images, features)
        found, _ = parts.roi_heads(features, proposals, sizes)
        done: Found = parts.transform.postprocess(found, sizes, sizes)[0]
        return image, done

    def inference(self, settings: TrainingSettings) -> dict[str, Any]:
        """See `Family`."""
        return {
            "min_size": settings.min_size,
            "max_size": settings.max_size,
            "nms_iou_thresh": settings.nms_iou_threshold,
        }

    def limits(self, settings: TrainingSettings) -> list[str]:
        """See `Family`."""
        return [
            f"At most {settings.box_detections_per_image} detections a picture; what overlaps another of its "
            f"class by more than {settings.nms_iou_threshold} (box IoU) is dropped.",
            f"Pictures are resized to {settings.min_size} pixels on the shorter side, {settings.max_size} at "
            "most on the longer: what is only a few pixels large then is not found.",
        ]
