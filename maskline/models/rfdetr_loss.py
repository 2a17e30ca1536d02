"""RF-DETR's loss: transformers' own, where four things had to be otherwise.

Pictures without objects give a finite loss. What a query sees of a crowd region is neither object nor
background. The processes of a team don't wait for one another inside of it, since they may have different
numbers of batches. And what is reported are the weighted parts, which add up to the loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from torchvision.ops import box_convert
from transformers.loss.loss_rf_detr import RfDetrHungarianMatcher, RfDetrImageLoss

from .crowds import MOST_CROWD, crowd_share

PARTS = ("labels", "boxes", "masks")
LEAST_QUALITY = 0.01
Matches = Sequence[tuple[Tensor, Tensor]]
Target = dict[str, Tensor]


def weighted_losses(
    logits: Tensor,
    labels: list[Target],
    device: torch.device,
    pred_boxes: Tensor,
    pred_masks: Tensor,
    config: Any,
    outputs_class: Tensor,
    outputs_coord: Tensor,
    outputs_masks: Sequence[Tensor],
    enc_outputs_class: Tensor,
    enc_outputs_coord: Tensor,
    enc_outputs_masks: Tensor,
    **_: Any,
) -> tuple[Tensor, dict[str, Tensor], None]:
    """The loss of a batch and its weighted parts, each the sum over the encoder and all decoder layers.

    The arguments are those that transformers calls a loss function with. Computed in 32 bits, whatever the
    network is computed in.
    """
    answers = [(logits, pred_boxes, pred_masks)]
    answers += zip(outputs_class[:-1], outputs_coord[:-1], outputs_masks[:-1], strict=True)
    answers.append((enc_outputs_class, enc_outputs_coord, enc_outputs_masks))
    criterion, weights = Criterion(config), _weights(config)
    sums: dict[str, Tensor] = {}
    with torch.autocast(device.type, enabled=False):
        for answer in answers:
            names = ("logits", "pred_boxes", "pred_masks")
            output = dict(zip(names, (part.float() for part in answer), strict=True))
            for name, loss in criterion(output, labels).items():
                sums[name] = sums.get(name, 0) + weights[name] * loss
    return torch.stack(list(sums.values())).sum(), sums, None


def _weights(config: Any) -> Mapping[str, float]:
    return {
        "loss_ce": config.class_loss_coefficient,
        "loss_bbox": config.bbox_loss_coefficient,
        "loss_giou": config.giou_loss_coefficient,
        "loss_mask_ce": config.mask_class_loss_coefficient,
        "loss_mask_dice": config.mask_dice_loss_coefficient,
    }


class Criterion(RfDetrImageLoss):  # type: ignore[misc]  # transformers' type information is not complete
    """The loss of one layer's answer."""

    def __init__(self, config: Any) -> None:
        matcher = RfDetrHungarianMatcher(
            class_cost=config.class_cost,
            bbox_cost=config.bbox_cost,
            giou_cost=config.giou_cost,
            mask_point_sample_ratio=config.mask_point_sample_ratio,
            cost_mask_class_cost=config.mask_class_loss_coefficient,
            cost_mask_dice_cost=config.mask_dice_loss_coefficient,
        )
        super().__init__(
            matcher,
            config.num_labels,
            config.focal_alpha,
            list(PARTS),
            config.group_detr,
            config.mask_point_sample_ratio,
        )

    def forward(self, outputs: dict[str, Tensor], targets: list[Target]) -> dict[str, Tensor]:
        """The parts of the loss by name, not weighted.

        Args:
            outputs: logits (N, Q, classes), pred_boxes (N, Q, 4), pred_masks (N, Q, h, w), logits too.
            targets: for each picture class_labels, boxes, masks, and perhaps crowds.
        """
        if not outputs["pred_boxes"].isfinite().all():
            # Nothing can be matched; the training sees that it diverged. Masks would be dear to look through.
            return dict.fromkeys(_NAMES, outputs["logits"].sum() * torch.nan)
        count = sum(len(target["class_labels"]) for target in targets)
        if not count:
            nothing = torch.zeros(0, dtype=torch.int64)
            zero = torch.stack([part.sum() for part in outputs.values()]).sum() * 0
            return dict.fromkeys(_NAMES, zero) | self.loss_labels(
                outputs, targets, [(nothing, nothing)] * len(targets), 1
            )
        matches = self.matcher(outputs, targets, self.group_detr)
        losses: dict[str, Tensor] = {}
        for part in PARTS:
            losses |= self.get_loss(part, outputs, targets, matches, count * self.group_detr)
        return losses

    def loss_labels(
        self, outputs: dict[str, Tensor], targets: list[Target], indices: Matches, num_boxes: float
    ) -> dict[str, Tensor]:
        """Classification, weighted by how well the boxes fit; the same sum as transformers', by `logsigmoid`,
        which is finite for every logit, and without queries on crowd regions.
        """
        logits, gamma = outputs["logits"], 2
        where = self._get_source_permutation_idx(indices)
        matched = [t["class_labels"][j] for t, (_, j) in zip(targets, indices, strict=True)]
        own = torch.cat([t["boxes"][j] for t, (_, j) in zip(targets, indices, strict=True)])
        fit = _iou(outputs["pred_boxes"][where].detach(), own)
        probability = logits.sigmoid()
        place = (*where, torch.cat(matched))
        quality = probability[place] ** self.focal_alpha * fit ** (1 - self.focal_alpha)
        quality = quality.clamp(min=LEAST_QUALITY).detach()
        positive, negative = torch.zeros_like(logits), probability**gamma
        positive[place] = quality
        negative[place] = 1 - quality
        losses = -positive * logsigmoid(logits) - negative * logsigmoid(-logits)
        ignored = _on_crowds(outputs["pred_boxes"], targets)
        if ignored is not None:
            ignored[where] = False
            losses = losses.masked_fill(ignored[:, :, None], 0)
        return {"loss_ce": losses.sum() / num_boxes}


_NAMES = ("loss_ce", "loss_bbox", "loss_giou", "loss_mask_ce", "loss_mask_dice")


def _iou(one: Tensor, other: Tensor) -> Tensor:
    """IoU of boxes (n, 4), pair by pair."""
    a, b = (box_convert(boxes, "cxcywh", "xyxy") for boxes in (one, other))
    sides = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0)
    shared = sides.prod(1)
    return shared / (one[:, 2:].prod(1) + other[:, 2:].prod(1) - shared)


def _on_crowds(boxes: Tensor, targets: list[Target]) -> Tensor | None:
    """(N, Q) bool, which boxes lie on crowd regions; None where there are none."""
    if not any("crowds" in target for target in targets):
        return None
    found = torch.zeros(boxes.shape[:2], dtype=torch.bool, device=boxes.device)
    for own, shares, target in zip(found, boxes.detach(), targets, strict=True):
        if "crowds" in target:
            height, width = target["crowds"].shape[-2:]
            corners = box_convert(shares, "cxcywh", "xyxy") * shares.new_tensor([width, height] * 2)
            own |= crowd_share(corners, target["crowds"]) >= MOST_CROWD
    return found
