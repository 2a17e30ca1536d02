"""A convolution whose gradient is computed where there is one.

Of a picture's anchors 256 are drawn for the loss of proposals. So the convolution before them, which runs
over the whole pyramid, has a gradient at a few positions, and at these it is a small matrix product.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from torch.nn.grad import conv2d_input, conv2d_weight

from .region_features import plain_cpu

MOST = 0.3
"""Up to this share of positions with a gradient it is quicker to gather them than to take them all."""

Gradients = tuple[Tensor, Tensor, Tensor]


class SparselyTrainedConv2d(nn.Conv2d):
    """A 3 x 3 convolution, padded by 1, with a bias; in training on a CPU, few gradients cost little."""

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, O, H, W)."""
        if not (self.training and plain_cpu(input)):
            return super().forward(input)
        found: Tensor = _Convolution.apply(input, self.weight, self.bias)
        return found


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        context.save_for_backward(maps, weight)
        return functional.conv2d(maps, weight, bias, padding=1)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Gradients:
        maps, weight = context.saved_tensors
        some = (gradient != 0).any(1)  # true for what is no number, too: it has to be seen
        if some.sum() > MOST * some.numel():
            to_maps = conv2d_input(maps.shape, weight, gradient, padding=1)  # type: ignore[no-untyped-call]
            to_weight = conv2d_weight(maps, weight.shape, gradient, padding=1)  # type: ignore[no-untyped-call]
            return to_maps, to_weight, gradient.sum((0, 2, 3))
        return _gathered(maps, weight, gradient, some)


def _gathered(maps: Tensor, weight: Tensor, gradient: Tensor, some: Tensor) -> Gradients:
    """The gradients of maps (N, C, H, W), weight (O, C, 3, 3) and bias (O).

    Args:
        maps: what was convolved.
        weight: with what.
        gradient: (N, O, H, W) of the result.
        some: (N, H, W), where it isn't 0.
    """
    # The channels of a position side by side, with a frame of zeros: rows of a table.
    table = functional.pad(maps.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
    _, height, width, channels = table.shape
    pictures, y, x = some.nonzero().unbind(1)
    around = (torch.arange(3)[:, None] * width + torch.arange(3)).flatten()
    places = (((pictures * height + y) * width + x)[:, None] + around).flatten()
    given = gradient.permute(0, 2, 3, 1)[pictures, y, x]
    kernel = weight.permute(0, 2, 3, 1).flatten(1)
    to_table = table.new_zeros(table.flatten(0, 2).shape)
    to_table.index_add_(0, places, (given @ kernel).view(-1, channels))
    to_kernel = given.T @ table.flatten(0, 2)[places].view(-1, kernel.shape[1])
    return (
        to_table.view(table.shape)[:, 1:-1, 1:-1].permute(0, 3, 1, 2),
        to_kernel.view(-1, 3, 3, channels).permute(0, 3, 1, 2),
        given.sum(0),
    )
