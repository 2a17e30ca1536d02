"""Features of regions, gathered from the pyramid: RoIAlign that is quick to train on a CPU.

torchvision's RoIAlign adds its gradient to a map one number at a time; on a CPU that is a quarter of a
training step. With the channels of a position side by side the same sums are those of an embedding bag, which
torch adds row by row.
"""

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.poolers import LevelMapper, _setup_scales, initLevelMapper

STRIDES = (4, 8, 16, 32)
"""Pixels of a picture under a position of the levels that regions are pooled from, finest first."""


def plain_cpu(tensor: Tensor) -> bool:
    """Whether a tensor is computed with on a CPU, in its own type: what the ways of this package are for."""
    exact = tensor.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")
    return tensor.device.type == "cpu" and exact


class GatheredRoIAlign(MultiScaleRoIAlign):  # type: ignore[misc]  # torchvision has no type information
    """torchvision's RoIAlign; in training on a CPU the same sums, by another way.

    A bin's feature is the mean over sampling_ratio x sampling_ratio points, each interpolated between four
    positions of a map: He et al. 2017, https://arxiv.org/abs/1703.06870, section 3.
    """

    scales: list[float] | None
    map_levels: LevelMapper | None

    def know_scales(self) -> None:
        """Set what torchvision guesses from the first pictures that a model sees, and keeps.

        It takes padding for picture: where the first are up to 22, 33 to 45, or 65 to 67 pixels high, its
        guess is twice the scale, and the regions of every picture that follows are sought in wrong places.
        """
        self.scales = [1 / stride for stride in STRIDES]
        finest, coarsest = (stride.bit_length() - 1 for stride in (STRIDES[0], STRIDES[-1]))
        self.map_levels = initLevelMapper(finest, coarsest, self.canonical_scale, self.canonical_level)

    def forward(
        self, x: dict[str, Tensor], boxes: list[Tensor], image_shapes: list[tuple[int, int]]
    ) -> Tensor:
        """Features of boxes.

        Args:
            x: maps of the pyramid by name, each (N, C, H, W).
            boxes: for each picture (n, 4) x1 y1 x2 y2 in pixels.
            image_shapes: height and width of each picture.

        Returns:
            (K, C, height, width) of the boxes of all pictures, one after another.
        """
        maps = [level for name, level in x.items() if name in self.featmap_names]
        if not (self.training and self.sampling_ratio > 0 and plain_cpu(maps[0])):
            found: Tensor = super().forward(x, boxes, image_shapes)
            return found
        if self.scales is None or self.map_levels is None:
            self.scales, self.map_levels = _setup_scales(
                maps, image_shapes, self.canonical_scale, self.canonical_level
            )
        levels, regions = self.map_levels(boxes), torch.cat(boxes)
        regions = regions * regions.new_tensor(self.scales)[levels, None]
        pictures = torch.cat([torch.full((len(own),), number) for number, own in enumerate(boxes)])
        positions, shares = self._positions(regions, pictures, levels, [level.shape for level in maps])
        rows = torch.cat([level.permute(0, 2, 3, 1).flatten(0, 2) for level in maps])
        bins = functional.embedding_bag(positions, rows, mode="sum", per_sample_weights=shares.to(rows.dtype))
        height, width = self.output_size
        return bins.view(-1, height, width, bins.shape[1]).permute(0, 3, 1, 2)

    def _positions(
        self, regions: Tensor, pictures: Tensor, levels: Tensor, shapes: list[torch.Size]
    ) -> tuple[Tensor, Tensor]:
        """The positions that each bin is a sum of, and their shares.

        Args:
            regions: (K, 4) in positions of their maps.
            pictures: (K,) whose number each region is on.
            levels: (K,) the map of each.
            shapes: of the maps (N, C, H, W), whose positions are counted one map after another.

        Returns:
            Two (K * height * width, n).
        """
        heights, widths = torch.tensor([shape[2:] for shape in shapes])[levels].unbind(1)
        before = torch.tensor([0] + [n * h * w for n, _, h, w in shapes]).cumsum(0)[levels]
        x, x_shares = _along(regions[:, 0::2], widths, self.output_size[1], self.sampling_ratio)
        y, y_shares = _along(regions[:, 1::2], heights, self.output_size[0], self.sampling_ratio)
        rows = (before + pictures * heights * widths)[:, None, None] + y * widths[:, None, None]
        positions = rows[:, :, None, :, None] + x[:, None, :, None, :]
        shares = y_shares[:, :, None, :, None] * x_shares[:, None, :, None, :] / self.sampling_ratio**2
        return positions.flatten(3).flatten(0, 2), shares.flatten(3).flatten(0, 2)


def _along(regions: Tensor, length: Tensor, bins: int, points: int) -> tuple[Tensor, Tensor]:
    """Between which positions along one axis the points of each bin lie, and the share of each.

    Args:
        regions: (K, 2) from where to where, in positions of the map.
        length: (K,) of the map.
        bins: in a region.
        points: in a bin.

    Returns:
        Two (K, bins, 2 * points): positions; shares, 0 to 1, of points beyond the map 0.
    """
    # In the order of torchvision's operations, so that the points are the same to the bit.
    start, end = regions[:, :, None, None].unbind(1)
    size = (end - start).clamp(min=1) / bins
    at = start + torch.arange(bins)[:, None] * size + (torch.arange(points) + 0.5) * size / points
    last = (length - 1)[:, None, None]
    inside = (at >= -1) & (at <= last + 1)
    at = at.clamp(min=0)
    low = at.long().minimum(last)
    high = (low + 1).minimum(last)
    to_high = torch.where(low < last, at - low, 0)
    shares = torch.stack((1 - to_high, to_high), -1) * inside[..., None]
    return torch.stack((low, high), -1).flatten(2), shares.flatten(2)
