"""RF-DETR with masks: a detection transformer on a windowed DINOv2, by transformers' implementation.

Robinson et al. 2025, RF-DETR: Neural Architecture Search for Real-Time Detection Transformers,
https://arxiv.org/abs/2511.09554. Every picture is resized to one square, whatever its proportions, as in the
published models. There is no non-maximum suppression: each of the model's queries finds one object or none.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import is_tracing
from torch.nn import functional

from maskline.families import SQUARES, require, side_of, size_of
from maskline.packed_masks import dense
from maskline.resampling import resampled
from maskline.settings import TrainingSettings

from .family import Found
from .resizing import MEAN, STD

PATCH, WINDOWS = 12, 2
MASK_SHARE = 4
"""A mask's side is this part of the picture's."""
LAYERS = 12
MULTI_SCALE = (0.5, 1.5)
"""Of the side, Azure's range of `multi_scale`."""

Target = dict[str, Tensor]


@dataclass(frozen=True)
class Recipe:
    """How large an RF-DETR is.

    Attributes:
        decoder: layers of the decoder.
        groups: of queries in training, each matched by itself; one of them answers later.
        width: channels of the backbone.
        heads: of the backbone's attention.
        layers: of the backbone.
        returned: layers whose features go on to the decoder.
    """

    decoder: int
    groups: int = 13
    width: int = 384
    heads: int = 6
    layers: int = LAYERS
    returned: tuple[int, ...] = (3, 6, 9, 12)


RECIPES = {"small": Recipe(4), "medium": Recipe(5), "large": Recipe(5), "extra_large": Recipe(6)}
"""By model_size, as published: https://rfdetr.roboflow.com, rfdetr/config.py."""


class RfDetr(nn.Module):
    """RF-DETR behind torchvision's detection interface, see `build_model`.

    Args:
        network: of transformers.
        settings: the size, multi_scale and the thresholds are read.
    """

    def __init__(self, network: nn.Module, settings: TrainingSettings) -> None:
        super().__init__()
        self.network: Any = network
        self.side = side_of(settings)
        self.square = SQUARES[size_of(settings)]
        self.multi_scale = bool(settings.multi_scale)
        self.score_threshold = settings.box_score_threshold
        self.most = settings.box_detections_per_image
        self.small_masks = False

    def forward(
        self, pictures: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Found]:
        """Losses of pictures and targets in training; what is found on pictures otherwise.

        Args:
            pictures: each (3, H, W), float in 0 ... 1 or uint8.
            targets: each with boxes, labels, masks and, where there are any, crowds.
        """
        side = self._training_side() if self.training else self.side
        pixels = torch.stack([prepared(picture, side) for picture in pictures])
        if self.training and targets is not None:
            labels = [_labels(target, side) for target in targets]
            losses: dict[str, Tensor] = self.network(pixels, labels=labels).loss_dict
            return losses
        output = self.network(pixels)
        return [
            self.answer(logits, boxes, masks, (picture.shape[-2], picture.shape[-1]))
            for logits, boxes, masks, picture in zip(
                output.logits.float(),
                output.pred_boxes.float(),
                output.pred_masks.float(),
                pictures,
                strict=True,
            )
        ]

    def answer(self, logits: Tensor, boxes: Tensor, masks: Tensor, sides: tuple[int, int]) -> Found:
        """What was found on one picture, best first.

        Args:
            logits: (queries, classes).
            boxes: (queries, 4), centre and size as shares of the picture's.
            masks: (queries, h, w), logits.
            sides: height and width of the picture.
        """
        scores, best = logits.sigmoid().flatten().topk(min(self.most, logits.numel()))
        kept = scores > self.score_threshold
        scores, best = scores[kept], best[kept]
        query, label = best // logits.shape[1], best % logits.shape[1] + 1
        soft = masks[query][:, None]
        if not self.small_masks:
            soft = at_size(soft, sides)
        places = corners(boxes[query]) * boxes.new_tensor([sides[1], sides[0]] * 2)
        return {"boxes": places, "labels": label, "scores": scores, "masks": soft}

    def _training_side(self) -> int:
        """The side of a batch: it differs from batch to batch where that is asked for, and never without
        gradients, so that losses of validation can be compared.
        """
        if not self.multi_scale or not torch.is_grad_enabled():
            return self.side
        low, high = (self.square.legal(self.side * share) for share in MULTI_SCALE)
        steps = (high - low) // self.square.step
        # Drawn by torch's generator, which is seeded for each batch: so a training resumes to the bit.
        return low + self.square.step * int(torch.randint(steps + 1, ()))


def prepared(picture: Tensor, side: int) -> Tensor:
    """A picture (3, H, W), uint8 or 0 ... 1, as the network takes it: (3, side, side), normalised."""
    image = picture.float() / 255 if picture.dtype == torch.uint8 else picture
    if is_tracing() or image.shape[-2:] != (side, side):  # type: ignore[no-untyped-call]
        image = resampled(image, (side, side))
    mean, deviation = (image.new_tensor(values)[:, None, None] for values in (MEAN, STD))
    return (image - mean) / deviation


def at_size(masks: Tensor, sides: tuple[int, int]) -> Tensor:
    """Mask logits (n, 1, h, w) as probabilities at the size of the picture, (n, 1, H, W)."""
    if not len(masks):
        return masks.new_zeros(0, 1, *sides)
    return functional.interpolate(masks, size=sides, mode="bilinear", align_corners=False).sigmoid()


def corners(boxes: Tensor) -> Tensor:
    """Boxes (n, 4) of centre and size as x1 y1 x2 y2, all shares of the picture's sides, cut to it."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return torch.cat([centre - half, centre + half], dim=1).clamp(0, 1)


def _labels(target: Target, side: int) -> Target:
    """A target as transformers' loss takes it; masks and crowds at the network's size."""
    masks = dense(target["masks"])
    height, width = masks.shape[-2:]
    boxes = target["boxes"].float() / target["boxes"].new_tensor([width, height] * 2)
    found = {
        "class_labels": target["labels"] - 1,
        "boxes": torch.cat([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], dim=1),
        "masks": _nearest(masks, side),
    }
    crowds = target.get("crowds")
    if crowds is not None and len(crowds):
        found["crowds"] = _nearest(crowds, side)
    return found


def _nearest(masks: Tensor, side: int) -> Tensor:
    if masks.shape[-2:] == (side, side) or not len(masks):
        return masks.new_zeros(0, side, side) if not len(masks) else masks
    return functional.interpolate(masks[None], size=(side, side), mode="nearest-exact")[0]


def rfdetr(settings: TrainingSettings, number_of_classes: int) -> RfDetr:
    """An RF-DETR with random weights, its backbone frozen as the settings say.

    Raises:
        JobError: the extra `rfdetr` is not installed.
    """
    require(settings.model_name)
    from transformers import RfDetrForInstanceSegmentation

    from .rfdetr_loss import weighted_losses

    network = RfDetrForInstanceSegmentation(configuration(settings, number_of_classes))
    network.loss_function = weighted_losses
    # Only a pre-training with hidden patches would learn it.
    network.model.model.backbone.backbone.embeddings.mask_token.requires_grad_(False)
    model = RfDetr(network, settings)
    _freeze(model, settings.layers_to_freeze or 0)
    return model


def configuration(settings: TrainingSettings, number_of_classes: int) -> Any:
    """The network's description, of transformers."""
    from transformers import RfDetrConfig

    size = size_of(settings)
    recipe, square = RECIPES[size], SQUARES[size]
    backbone: Mapping[str, Any] = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": recipe.width,
        "num_attention_heads": recipe.heads,
        "num_hidden_layers": recipe.layers,
        "image_size": square.side,  # of the places that are learnt; they are interpolated for another side
        "patch_size": PATCH,
        "num_windows": WINDOWS,
        "out_features": [f"stage{layer}" for layer in recipe.returned],
    }
    return RfDetrConfig(
        backbone_config=dict(backbone),
        decoder_layers=recipe.decoder,
        decoder_n_points=2,
        num_queries=square.queries,
        group_detr=recipe.groups,
        mask_downsample_ratio=MASK_SHARE,
        dropout=0.0,
        num_labels=number_of_classes,
    )


def _freeze(model: RfDetr, stages: int) -> None:
    """Freeze so many stages from the input on: the patches' embedding, then one layer after another."""
    body = model.network.model.model.backbone.backbone
    for stage in (body.embeddings, *body.encoder.layer)[:stages]:
        stage.requires_grad_(False)
    if stages > len(body.encoder.layer):
        body.requires_grad_(False)
