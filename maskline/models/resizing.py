"""Resizing of pictures, equal to the pixel in torch and in ONNX."""

from typing import Any

import torch
from torch import Tensor
from torch.jit._trace import is_tracing
from torch.onnx.operators import shape_as_tensor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from maskline.resampling import resampled

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's pictures, red, green, blue, in 0 ... 1."""

LEAST = 2
"""Pixels of a side at the least: onnxruntime's Resize goes wrong where it smooths a single column."""

Target = dict[str, Tensor]
Size = tuple[int, int]


class ExactTransform(GeneralizedRCNNTransform):  # type: ignore[misc]  # torchvision has no type information
    """torchvision's normalisation, resizing and padding, with sizes from whole numbers only.

    torchvision multiplies the sides by a fraction, as a double in torch and as a float32 in an exported
    graph, and rounds down: for some picture sizes the two differ by a pixel. Here the shorter side becomes
    min_size, or the longer one max_size if it would be above that, and the other side is
    `side * wanted // other`, the same in both, and LEAST at the least.

    Pictures may be float, 0 ... 1, or uint8, which is as good and a quarter of the bytes to move. In training
    they come at their size, from `maskline.training_data`, and are not resized here.
    """

    def __init__(self, min_size: int, max_size: int) -> None:
        super().__init__(min_size, max_size, list(MEAN), list(STD))
        self.pastes_masks = True

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> tuple[ImageList, list[Target] | None]:
        """Pictures (3, H, W) as one batch, padded at the right and below with 0; targets as they are."""
        if not self.training:
            batch: tuple[ImageList, list[Target] | None] = super().forward(images, targets)
            return batch
        # The same numbers as torchvision's, written once: each copy of a batch costs as much as its masks.
        sizes = [(image.shape[-2], image.shape[-1]) for image in images]
        height, width = (
            -(-max(sides) // self.size_divisible) * self.size_divisible for sides in zip(*sizes, strict=True)
        )
        if len(images) == 1 and height == width == self.size_divisible:
            width *= (
                2  # the coarsest map would be one cell, and a single value has no variance to normalise by
            )
        tensors = torch.zeros(len(images), 3, height, width, device=images[0].device)
        for place, image, (own_height, own_width) in zip(tensors, images, sizes, strict=True):
            part = place[:, :own_height, :own_width].copy_(image)
            if image.dtype == torch.uint8:
                part.div_(255)
            part.sub_(part.new_tensor(MEAN)[:, None, None]).div_(part.new_tensor(STD)[:, None, None])
        return ImageList(tensors, sizes), targets

    def normalize(self, image: Tensor) -> Tensor:
        """A picture (3, H, W) with the mean and deviation of ImageNet's taken out, float32."""
        if image.dtype == torch.uint8:
            image = image.float().div_(255)
        normalised: Tensor = super().normalize(image)
        return normalised

    def resize(self, image: Tensor, target: Target | None = None) -> tuple[Tensor, Target | None]:
        """A picture (3, H, W) at the size that the network works on."""
        if not self.training:
            size = self._size(image)
            image = resampled(image, size)
        return image, target

    def postprocess(
        self,
        result: list[Target],
        image_shapes: list[tuple[int, int]],
        original_image_sizes: list[tuple[int, int]],
    ) -> list[Target]:
        """Detections in the pictures' own coordinates.

        Masks become as large as the picture, (n, 1, H, W); where `pastes_masks` is off they stay as the
        network gives them, (n, 1, 28, 28) in their boxes, which `maskline.pasting` needs.
        """
        if self.training or self.pastes_masks:
            pasted: list[Target] = super().postprocess(result, image_shapes, original_image_sizes)
            return pasted
        small = [found.pop("masks") for found in result]
        super().postprocess(result, image_shapes, original_image_sizes)
        return [{**found, "masks": masks} for found, masks in zip(result, small, strict=True)]

    def _size(self, image: Tensor) -> list[Any]:
        sides = shape_as_tensor(image)[-2:]
        short, long = sides.min(), sides.max()
        wanted, most = self.min_size[-1], self.max_size
        fits = wanted * long <= most * short
        size = torch.where(fits, sides * wanted // short, sides * most // long).clamp(min=LEAST)
        # A graph keeps the two numbers open; torch itself wants them as numbers.
        return [size[0], size[1]] if is_tracing() else size.tolist()  # type: ignore[no-untyped-call]


def network_size(original: Size, min_size: int, max_size: int) -> Size:
    """Width and height at which the network works on a picture; as `ExactTransform`, in whole numbers."""
    short, long = min(original), max(original)
    wanted, side = (min_size, short) if min_size * long <= max_size * short else (max_size, long)
    width, height = (max(LEAST, own * wanted // side) for own in original)
    return width, height
