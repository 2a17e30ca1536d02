"""Resizing follows torchvision's rule, and is the same in a graph."""

import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from maskline.models.resizing import ExactTransform

SIZES = [(120, 200), (640, 427), (428, 640), (20, 2000), (1, 1), (2000, 20), (61, 170), (96, 160), (526, 722)]


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (480, 640, (600, 800)),  # shorter side to min_size
        (400, 1200, (444, 1333)),  # the longer side would pass max_size: 400 * 1333 // 1200
        (600, 600, (600, 600)),
        (1200, 800, (900, 600)),
        (1, 5000, (1, 1333)),  # never less than a pixel
    ],
)
def test_sizes(height: int, width: int, expected: tuple[int, int]) -> None:
    image, _ = ExactTransform(600, 1333).resize(torch.zeros(3, height, width))
    assert image.shape[-2:] == expected


def test_targets_go_along() -> None:
    mask = torch.zeros(1, 20, 40, dtype=torch.uint8)
    mask[0, 5:10, 10:30] = 1
    target = {"boxes": torch.tensor([[10.0, 5.0, 30.0, 10.0]]), "labels": torch.tensor([1]), "masks": mask}
    image, changed = ExactTransform(40, 80).resize(torch.rand(3, 20, 40), target)
    assert image.shape == (3, 40, 80)
    assert changed["boxes"].tolist() == [[20.0, 10.0, 60.0, 20.0]]
    assert changed["masks"].sum() == 4 * mask.sum()
    assert changed["masks"][0, 10:20, 20:60].all()
    assert target["boxes"].tolist() == [[10.0, 5.0, 30.0, 10.0]]


class _Alone(nn.Module):
    def __init__(self, transform: ExactTransform) -> None:
        super().__init__()
        self.transform = transform.eval()

    def forward(self, image: Tensor) -> Tensor:
        return self.transform([image])[0].tensors


@pytest.mark.parametrize(("least", "most"), [(96, 160), (600, 1333)])
def test_the_graph_resizes_as_torch_does(least: int, most: int, tmp_path: Path) -> None:
    alone = _Alone(ExactTransform(least, most))
    file = tmp_path / "resize.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            alone,
            (torch.rand(3, 240, 320),),
            str(file),
            opset_version=17,
            dynamo=False,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {1: "h", 2: "w"}, "y": {0: "n", 2: "a", 3: "b"}},
        )
    graph = onnxruntime.InferenceSession(str(file))
    for height, width in SIZES:
        picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(height))
        expected = alone(picture).numpy()
        (got,) = graph.run(None, {"x": picture.numpy()})
        assert got.shape == expected.shape, (height, width)
        assert np.abs(got - expected).max() < 2e-3, (height, width)
