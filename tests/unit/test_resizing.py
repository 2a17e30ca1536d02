"""Resizing follows torchvision's rule, and is the same in a graph."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from maskline.models.resizing import MEAN, STD, ExactTransform
from maskline.models.tracing import traced

SIZES = [
    *((120, 200), (640, 427), (428, 640), (20, 2000), (1, 1), (2000, 20), (61, 170), (96, 160), (526, 722)),
    *((1999, 1501), (64, 2000), (2000, 64), (1, 3000), (3000, 1), (97, 161), (95, 159)),
]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (600, 800)),  # shorter side to min_size
        (400, 1200, (444, 1333)),  # the longer side would pass max_size: 400 * 1333 // 1200
        (600, 600, (600, 600)),
        (1200, 800, (900, 600)),
        (1, 5000, (2, 1333)),  # never less than two pixels
    ],
)
def test_sizes(height: int, width: int, expected: tuple[int, int]) -> None:
    image, _ = ExactTransform(600, 1333).eval().resize(torch.zeros(3, height, width))
    assert image.shape[-2:] == expected


def test_bytes_are_as_good_as_fractions() -> None:
    transform = ExactTransform(40, 80).eval()
    picture = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    assert torch.equal(transform([picture])[0].tensors, transform([picture.float() / 255])[0].tensors)


def test_training_pictures_keep_their_size() -> None:
    target = {"boxes": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    images, targets = ExactTransform(40, 80).train()([torch.zeros(3, 21, 33)], [target])
    assert images.image_sizes == [(21, 33)]
    assert torch.equal(targets[0]["boxes"], target["boxes"])


def test_a_training_batch_is_what_torchvision_makes_of_it() -> None:
    pictures = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in ((40, 70), (64, 33))]
    ours = ExactTransform(40, 80).train()(pictures)[0]
    theirs = GeneralizedRCNNTransform(40, 80, list(MEAN), list(STD), _skip_resize=True).train()(
        [picture.float() / 255 for picture in pictures]
    )[0]
    assert torch.equal(ours.tensors, theirs.tensors)
    assert ours.image_sizes == theirs.image_sizes == [(40, 70), (64, 33)]


class _Alone(nn.Module):
    def __init__(self, transform: ExactTransform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, image: Tensor) -> Tensor:
        return self.transform([image])[0].tensors


@pytest.mark.parametrize(("least", "most"), [(96, 160), (600, 1333)])
def test_the_graph_resizes_as_torch_does(least: int, most: int) -> None:
    alone = _Alone(ExactTransform(least, most)).eval()
    open_sides = {"x": {1: "h", 2: "w"}, "y": {2: "a", 3: "b"}}
    made = traced(alone, {"x": torch.rand(3, 240, 320)}, ["y"], open_sides)
    graph = onnxruntime.InferenceSession(made.SerializeToString())
    for height, width in SIZES:
        picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(height))
        expected = alone(picture).numpy()
        (got,) = graph.run(None, {"x": picture.numpy()})
        assert got.shape == expected.shape, (height, width)
        assert np.abs(got - expected).max() < 2e-3, (height, width)
