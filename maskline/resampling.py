"""Pictures at another size, smoothed where they shrink: one way for training, detection and ONNX graphs.

Every pixel of a smaller picture is a mean over all that lies under it. So a picture that is shrunk in two
steps, as by the decoder of a JPEG file and then here, is very nearly the one that is shrunk at once, and what
a model has learnt from the one is true of the other: `make bench ONLY=data_path_ap`. How a graph does it says
`maskline.models.tracing`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def resampled(picture: Tensor, size: Sequence[Any]) -> Tensor:
    """A picture (3, H, W), float or uint8, at another height and width: bilinear, with anti-aliasing."""
    batch = picture[None]
    if picture.dtype == torch.uint8:
        # The same pixels, with strides by which torch knows a picture whose channels come last, and leaves
        # them so: else it would be laid out anew before and after.
        batch = picture.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
    return functional.interpolate(
        batch, size=list(size), mode="bilinear", align_corners=False, antialias=True
    )[0]
