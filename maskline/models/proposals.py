"""Region proposals, ranked alike in torch and in ONNX, and not trained on crowd regions."""

import torch
from torch import Tensor
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

from .crowds import Target, ignore_crowds


class LogitRankedProposals(RegionProposalNetwork):  # type: ignore[misc]  # torchvision has no type information
    """torchvision's region proposal network, whose proposals are ranked by objectness before the sigmoid.

    The order is the same. But ONNX Runtime's sigmoid is exact to 1e-7 only, so that in an exported graph the
    weaker proposals would tie, change places, and leave others to be kept than in torch.
    """

    def filter_proposals(
        self,
        proposals: Tensor,
        objectness: Tensor,
        image_shapes: list[tuple[int, int]],
        num_anchors_per_level: list[int],
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The best proposals of each picture after non-maximum suppression within each pyramid level.

        Args:
            proposals: (N, A, 4) boxes in pixels, of all levels one after another.
            objectness: logits, one for each of the N * A boxes.
            image_shapes: height and width of each picture.
            num_anchors_per_level: how many of the A boxes each level has.

        Returns:
            For each picture its boxes (n, 4), best first, and their logits (n,).
        """
        count = len(image_shapes)
        logits = objectness.detach().reshape(count, -1)
        levels = torch.cat(
            [torch.full((n,), level, dtype=torch.int64) for level, n in enumerate(num_anchors_per_level)]
        ).to(logits.device)
        best = self._get_top_n_idx(logits, num_anchors_per_level)
        boxes_kept, logits_kept = [], []
        for picture, shape in enumerate(image_shapes):
            chosen = best[picture]
            boxes = clip_boxes_to_image(proposals[picture][chosen], shape)
            scores, level = logits[picture][chosen], levels[chosen]
            large = remove_small_boxes(boxes, self.min_size)
            boxes, scores, level = boxes[large], scores[large], level[large]
            keep = batched_nms(boxes, scores, level, self.nms_thresh)[: self.post_nms_top_n()]
            boxes_kept.append(boxes[keep])
            logits_kept.append(scores[keep])
        return boxes_kept, logits_kept

    def assign_targets_to_anchors(
        self, anchors: list[Tensor], targets: list[Target]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """For each picture the label of each anchor (1 object, 0 background, -1 ignored) and its object."""
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        return ignore_crowds(labels, anchors, targets), boxes

    def compute_loss(
        self,
        objectness: Tensor,
        pred_bbox_deltas: Tensor,
        labels: list[Tensor],
        regression_targets: list[Tensor],
    ) -> tuple[Tensor, Tensor]:
        """As torchvision's; pictures in which every anchor is ignored have losses of 0, not of 0 / 0."""
        if all((own < 0).all() for own in labels):
            return objectness.sum() * 0, pred_bbox_deltas.sum() * 0
        found: tuple[Tensor, Tensor] = super().compute_loss(
            objectness, pred_bbox_deltas, labels, regression_targets
        )
        return found
