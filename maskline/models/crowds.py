"""Crowd regions in training: what lies on them is neither an object nor background.

A crowd region marks many objects that nobody told apart. A proposal on it that no labelled object explains
may well show one of them, so it must not be taught as background. COCO's metrics judge detections there in
the same way: not at all.
"""

import torch
from torch import Tensor
from torchvision.models.detection.roi_heads import RoIHeads

Target = dict[str, Tensor]
IGNORED = -1
"""What the samplers of torchvision leave out: neither a label of an object (1 ...) nor background (0)."""
MOST_CROWD = 0.5
"""From this share of its area on a proposal lies on a crowd region; COCO's metrics begin at the same IoU."""


def crowd_share(boxes: Tensor, crowds: Tensor) -> Tensor:
    """Which share of each box's area lies on crowd regions.

    Args:
        boxes: (n, 4) x1 y1 x2 y2 in pixels, also beyond the picture; taken to the nearest pixel edges.
        crowds: (k, H, W), above 0 on crowd regions; they are united.

    Returns:
        (n,) float32, 0 to 1: intersection over the box's area; a box without area has 0.
    """
    height, width = crowds.shape[-2:]
    # Sums over the rectangle from the corner of the picture: any box's sum is four look-ups.
    sums = torch.zeros(height + 1, width + 1, dtype=torch.int64, device=crowds.device)
    sums[1:, 1:] = (crowds > 0).any(0).cumsum(0).cumsum(1)
    edges = boxes.detach().round()
    x1, x2 = (edges[:, i].clamp(0, width).long() for i in (0, 2))
    y1, y2 = (edges[:, i].clamp(0, height).long() for i in (1, 3))
    inside = sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]
    area = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
    return torch.where(area > 0, inside / area.clamp(min=1), 0).float()


def ignore_crowds(labels: list[Tensor], boxes: list[Tensor], targets: list[Target]) -> list[Tensor]:
    """The labels of boxes, with IGNORED for background that lies on crowd regions.

    Args:
        labels: for each picture (n,), 0 for background.
        boxes: for each picture (n, 4) in pixels of the picture that the network sees.
        targets: for each picture; `crowds` (k, H, W) of the same size, where there is such a key.
    """
    found = []
    for own, places, target in zip(labels, boxes, targets, strict=True):
        crowds = target.get("crowds")
        if crowds is not None and len(crowds):
            on_crowd = crowd_share(places, crowds) >= MOST_CROWD
            own = torch.where((own == 0) & on_crowd, IGNORED, own)
        found.append(own)
    return found


class CrowdAwareHeads(RoIHeads):  # type: ignore[misc]  # torchvision has no type information
    """torchvision's heads, trained on no proposal that lies on a crowd region."""

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: list[Tensor],
        image_shapes: list[tuple[int, int]],
        targets: list[Target] | None = None,
    ) -> tuple[list[dict[str, Tensor]], dict[str, Tensor]]:
        """As torchvision's; a batch in which every proposal is ignored has losses of 0, not of 0 / 0."""
        self._targets = targets or []
        result, losses = super().forward(features, proposals, image_shapes, targets)
        if self.training and self._drawn == 0:
            losses = dict.fromkeys(losses, sum(level.sum() for level in features.values()) * 0)
        return result, losses

    def assign_targets_to_proposals(
        self, proposals: list[Tensor], gt_boxes: list[Tensor], gt_labels: list[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each picture the object and the label of each proposal."""
        matched, labels = super().assign_targets_to_proposals(proposals, gt_boxes, gt_labels)
        return matched, ignore_crowds(labels, proposals, self._targets)

    def subsample(self, labels: list[Tensor]) -> list[Tensor]:
        """Which proposals of each picture the heads are trained on."""
        drawn = super().subsample(labels)
        self._drawn = sum(len(indices) for indices in drawn)
        return drawn  # type: ignore[no-any-return]
