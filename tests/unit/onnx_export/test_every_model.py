"""Every registered model as an ONNX file, against torch, on real pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskline.checkpoint import Checkpoint
from maskline.components.onnx_export.export import export, finished
from maskline.components.onnx_export.parity import Graph, measure
from maskline.models import MODELS, build_model

SIZES = ((64, 64), (640, 425), (2000, 300), (333, 1000))


SMALL = {"rfdetr_seg": {"model_size": "small", "image_size": 168}}


@pytest.mark.usefixtures("tiny_rfdetr")
@pytest.mark.parametrize("name", MODELS)
def test_every_model_agrees_with_its_graph(name: str, shared_data: Path, tmp_path: Path) -> None:
    """From none to the most detections, at sizes from 64 to 2,000 pixels.

    Random weights: all scores are near to one another, which is harder on the order than a trained model's.
    """
    sides = SMALL.get(name, {"min_size": 160, "max_size": 320})
    chosen = {"model_name": name, **sides, "box_detections_per_image": 40}
    described = Checkpoint(
        {**chosen, "advanced_settings": {"pretrained_weights": "none"}}, ("a", "b", "c"), epoch=1
    )
    torch.manual_seed(1)
    detector = build_model(described.training_settings, 3)
    source = Image.open(shared_data / "coco_crowd/images/000000000071.jpg").convert("RGB")
    if hasattr(detector, "backbone"):
        settle(detector, source)
    graph = Graph(finished(export(detector.eval(), described), described).SerializeToString())
    files = []
    for width, height in SIZES:
        files.append(str(tmp_path / f"{width}x{height}.png"))
        source.resize((width, height)).save(files[-1])
    most = measure(detector, graph, files, 0.0)
    assert [(one.detections, one.breach) for one in most] == [(40, "")] * len(files)
    none = measure(detector, graph, files, 1.0)
    assert [(one.detections, one.breach) for one in none] == [(0, "")] * len(files)


def settle(detector: Any, source: Image.Image) -> None:
    """Fresh batch normalisation lets values grow with each layer; a few pictures give it real statistics."""
    detector.train()
    with torch.no_grad():
        for side in (160, 224):
            picture = torch.from_numpy(np.array(source.resize((side, side)))).permute(2, 0, 1).float() / 255
            detector.backbone(detector.transform.normalize(picture)[None])
