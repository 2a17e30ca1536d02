"""A trained Mask R-CNN in the two forms that are exported, as ONNX graphs.

torch's newer exporter can't yet translate torchvision's non-maximum suppression, whose control flow depends
on the number of boxes; the TorchScript-based one can.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.jit._trace import is_tracing
from torch.onnx.operators import shape_as_tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import poolers

from maskline.onnx_model import MOST, PIXEL, SOFT_MASKS

from .family import OUTPUTS
from .region_features import STRIDES
from .tracing import traced

PROPOSALS = "max_proposals"
CELLS = 28
"""Side of the soft mask that a Mask R-CNN gives each detection."""
PADDING = 1
"""Empty cells around a soft mask before it is resized, as torchvision has it."""
BAND = 32
"""Rows of a level that regions are pooled from together: so many of them fit into a processor's cache."""
FURTHEST = 1 << 16
"""More than any position of a level."""

Found = tuple[Tensor, Tensor, Tensor, Tensor]


def graph(detector: nn.Module, kind: str, limits: Mapping[str, Tensor]) -> onnx.ModelProto:
    """The graph of a detector for one picture, dynamic in its size, see `Family.graph`."""
    if kind == "network":
        given = {name: value for name, value in limits.items() if name != PIXEL}
        model = _traced(NetworkAlone(detector), "input", torch.rand(1, 3, 240, 320), given, OUTPUTS)
    else:
        example = torch.randint(0, 255, (240, 320, 3), dtype=torch.uint8)
        model = _traced(PictureModel(detector), "image", example, limits, (*OUTPUTS, SOFT_MASKS))
    proposals = torch.tensor(detector.rpn.post_nms_top_n())  # type: ignore[operator, union-attr]
    model.graph.initializer.append(numpy_helper.from_array(proposals.numpy(), PROPOSALS))
    _end_suppression_early(model.graph)
    return model


def _end_suppression_early(graph: onnx.GraphProto) -> None:
    """Let non-maximum suppression end when it has as many boxes as are kept of it.

    It takes boxes by falling score, so that the first ones stay the same. Without this it goes on through all
    boxes of all classes, at a cost that grows with their square, and what is too much is cut off afterwards.
    """
    found = list(_suppressions(graph))
    if len(found) != 2:
        raise RuntimeError(
            f"{len(found)} non-maximum suppressions in the graph instead of proposals' and boxes'"
        )
    for (inner, node), most in zip(found, (PROPOSALS, MOST), strict=True):
        before, node.input[2] = node.input[2], most
        # What told the number of boxes until now would be a constant that no node reads, at a warning of
        # ONNX Runtime whenever the file is loaded.
        if not any(before in other.input for other in inner.node):
            inner.node.remove(next(other for other in inner.node if before in other.output))


def _suppressions(graph: onnx.GraphProto) -> Iterator[tuple[onnx.GraphProto, onnx.NodeProto]]:
    """Each non-maximum suppression, and the graph, perhaps of a branch, that it is in."""
    for node in graph.node:
        if node.op_type == "NonMaxSuppression":
            yield graph, node
        for attribute in node.attribute:
            yield from _suppressions(attribute.g)


def _traced(
    model: nn.Module, name: str, example: torch.Tensor, limits: Mapping[str, Tensor], outputs: tuple[str, ...]
) -> onnx.ModelProto:
    axes = {
        "image": {0: "height", 1: "width"},
        "input": {2: "height", 3: "width"},
        "masks": {0: "n", 1: "height", 2: "width"} if name == "image" else {0: "n", 2: "height", 3: "width"},
        **{output: {0: "n"} for output in outputs if output != "masks"},
    }
    with _levels_in_turn():
        return traced(model, {name: example, **limits}, outputs, axes)


@contextmanager
def _levels_in_turn() -> Iterator[None]:
    """Let torchvision, while it is traced, put what it pools from each level one after another.

    It writes that into an array of zeros, at an index for each single value: a sixth of the time of
    ResNet-50's graph. Regions in the order of `by_position` need no such thing.
    """
    before = poolers._onnx_merge_levels
    poolers._onnx_merge_levels = lambda levels, pooled: torch.cat(pooled)
    try:
        yield
    finally:
        poolers._onnx_merge_levels = before


def by_position(pool: Any, boxes: Tensor) -> Tensor:
    """An order of boxes in which pooling reads the pyramid level by level, and each level place by place.

    What is read for one region is then still in the processor's cache for the next.

    Args:
        pool: a `GatheredRoIAlign`.
        boxes: (n, 4) x1 y1 x2 y2 in pixels of the resized picture.

    Returns:
        (n,) int64 indices of boxes.
    """
    levels = pool.map_levels([boxes])
    strides = torch.tensor(STRIDES)[levels][:, None]
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / (2 * strides)).to(torch.int64).unbind(1)
    return torch.argsort((levels * FURTHEST + y // BAND) * FURTHEST + x)


class PictureModel(nn.Module):
    """A detector that takes an RGB picture, uint8 (H, W, 3), and answers in that picture's coordinates.

    The answer: boxes (n, 4) float32 x1 y1 x2 y2 in pixels, labels (n,) int64 from 1, scores (n,) float32 in
    0 ... 1 in falling order, masks (n, H, W) uint8, 1 where the object is, and the soft masks (n, 28, 28)
    float32 that these were made from. Scaling, normalisation, resizing and the way back are inside.

    Args:
        detector: of `build_model`; the same layers, in evaluation mode.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector: Any = detector

    def forward(
        self, image: Tensor, score_threshold: Tensor, max_detections: Tensor, mask_threshold: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Detect. Scores are above score_threshold (), of max_detections () at the most."""
        picture = image.permute(2, 0, 1).to(torch.float32) / 255
        sides = shape_as_tensor(image)[:2]
        images, _ = self.detector.transform([picture])
        boxes, labels, scores, soft = _found(self.detector, images, score_threshold, max_detections)
        # The network saw the picture resized, each side by its own factor.
        seen = torch.stack([torch.as_tensor(side) for side in images.image_sizes[0]])
        factor = sides.to(torch.float32) / seen.to(torch.float32)
        boxes = boxes * factor.flip(0).repeat(2)
        return boxes, labels, scores, pasted(soft, boxes, sides, mask_threshold), soft


class NetworkAlone(nn.Module):
    """The detector without resizing and normalisation: what Azure ML's own ONNX file is.

    Takes float32 (1, 3, H, W), normalised by the caller; pads to a multiple of 32 inside. Answers with boxes
    (n, 4) in pixels of that input, labels (n,) from 1, scores (n,), masks (n, 1, H, W) float32, the
    probability of each pixel.
    """

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector: Any = detector

    def forward(self, input: Tensor, score_threshold: Tensor, max_detections: Tensor) -> Found:
        """Detect."""
        sides = shape_as_tensor(input)[-2:]
        transform = self.detector.transform
        padded = transform.batch_images([input[0]], size_divisible=transform.size_divisible)
        images = ImageList(padded, [_pair(sides)])
        boxes, labels, scores, soft = _found(self.detector, images, score_threshold, max_detections)
        return boxes, labels, scores, resized(soft, boxes, sides)[:, None]


def _pair(sides: Tensor) -> Any:
    # As ExactTransform: a graph keeps the two numbers open; torch itself wants them as numbers.
    return (sides[0], sides[1]) if is_tracing() else tuple(sides.tolist())  # type: ignore[no-untyped-call]


def _found(detector: nn.Module, images: ImageList, score_threshold: Tensor, most: Tensor) -> Found:
    """Boxes in pixels of the resized picture, labels, scores, soft masks (n, 28, 28) of one picture."""
    parts: Any = detector
    heads, features = parts.roi_heads, parts.backbone(images.tensors)
    proposals = parts.rpn(images, features)[0][0]
    # Any order of proposals gives the same answer.
    proposals = proposals[by_position(heads.box_roi_pool, proposals)]
    with _boxes_only(heads, score_threshold, most):
        found = heads(features, [proposals], images.image_sizes)[0][0]
    boxes, labels = found["boxes"], found["labels"]
    order = by_position(heads.mask_roi_pool, boxes)
    regions = heads.mask_head(heads.mask_roi_pool(features, [boxes[order]], images.image_sizes))
    soft = of_own_class(heads.mask_predictor, regions, labels[order])
    return boxes, labels, found["scores"], soft[torch.argsort(order)]


@contextmanager
def _boxes_only(heads: Any, score_threshold: Tensor, most: Tensor) -> Iterator[None]:
    """Let the heads find no masks for a while, and boxes by limits that a graph can have as inputs."""
    before = heads.score_thresh, heads.detections_per_img, heads.mask_roi_pool
    heads.score_thresh, heads.detections_per_img, heads.mask_roi_pool = score_threshold, most, None
    try:
        yield
    finally:
        heads.score_thresh, heads.detections_per_img, heads.mask_roi_pool = before


def of_own_class(predictor: Any, regions: Tensor, labels: Tensor) -> Tensor:
    """Soft masks of objects, each for its own class.

    torchvision computes masks for all classes, and throws all but one away. Its transposed convolution has no
    overlaps, so that a convolution of 1 x 1 to four times the channels gives the same numbers, quicker.

    Args:
        predictor: torchvision's `MaskRCNNPredictor`.
        regions: (n, channels, side, side) of the mask head.
        labels: (n,) int64, the class of each.

    Returns:
        (n, 2 * side, 2 * side) probabilities.
    """
    larger, last = predictor.conv5_mask, predictor.mask_fcn_logits
    inner, channels, side = larger.in_channels, larger.out_channels, regions.shape[-1]
    weight = larger.weight.permute(2, 3, 1, 0).reshape(4 * channels, inner, 1, 1)
    quarters = nn.functional.conv2d(regions, weight, larger.bias.repeat(4)).relu()
    own = last.weight.flatten(1)[labels][:, None, None]
    logits = torch.matmul(own, quarters.view(-1, 4, channels, side * side))
    logits = logits + last.bias[labels][:, None, None, None]
    laid: Tensor = logits.view(-1, 2, 2, side, side).permute(0, 3, 1, 4, 2)
    return laid.reshape(-1, 2 * side, 2 * side).sigmoid()


def pasted(soft: Tensor, boxes: Tensor, sides: Tensor, threshold: Tensor) -> Tensor:
    """Masks (n, H, W) uint8: 1 where the probability is above the threshold."""
    return (resized(soft, boxes, sides) > threshold).to(torch.uint8)


def resized(soft: Tensor, boxes: Tensor, sides: Tensor) -> Tensor:
    """Soft masks laid on the whole picture, as torchvision's `paste_masks_in_image` does.

    That one is a loop over masks, whose exported form copies all earlier masks for each new one. Bilinear
    interpolation is linear along each side, so that two products of matrices do the same for all at once.

    Args:
        soft: (n, 28, 28) probabilities.
        boxes: (n, 4) in pixels of the picture.
        sides: height and width of the picture, int64 (2,).

    Returns:
        (n, H, W) float32, 0 outside the boxes.
    """
    cells = nn.functional.pad(soft, (PADDING,) * 4)
    grown = (CELLS + 2 * PADDING) / CELLS
    low, high = boxes[:, :2], boxes[:, 2:]
    reach, centre = (high - low) * 0.5 * grown, (high + low) * 0.5
    first, last = (centre - reach).to(torch.int64), (centre + reach).to(torch.int64)
    across = _weights(first[:, 0], last[:, 0], sides[1])
    down = _weights(first[:, 1], last[:, 1], sides[0])
    return torch.matmul(torch.matmul(down, cells), across.transpose(1, 2))


def _weights(first: Tensor, last: Tensor, side: Tensor) -> Tensor:
    """(n, side, cells): how much of each cell a pixel of one side of the picture takes."""
    cells = CELLS + 2 * PADDING
    size = (last - first + 1).clamp(min=1)[:, None]
    pixel = torch.arange(side)[None] - first[:, None]  # type: ignore[call-overload]
    inside = (pixel >= 0) & (pixel < size)
    place = (pixel.to(torch.float32) + 0.5) * (cells / size.to(torch.float32)) - 0.5
    place = place.clamp(0, cells - 1)[:, :, None]
    weights = (1 - (place - torch.arange(cells)).abs()).clamp(min=0)
    return torch.where(inside[:, :, None], weights, torch.zeros(()))
