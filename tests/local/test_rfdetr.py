"""rfdetr_seg as it is trained, not a narrow one: minutes, so before a release."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from maskline import Input, automl
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.models import build_model
from maskline.onnx_model import OnnxModel
from maskline.pictures import open_upright
from maskline.pipelines.local_runner import run_local
from maskline.settings import complete
from maskline.training_data import TrainingDataset

pytest.importorskip("transformers")
pytestmark = [pytest.mark.local, pytest.mark.slow]
SMALL = {
    "model_name": "rfdetr_seg",
    "model_size": "small",
    "image_size": 120,
    "advanced_settings": '{"pretrained_weights": "none"}',
}
STEPS = 400


def test_four_pictures_are_learnt_by_heart(shared_data: Path, tmp_path: Path) -> None:
    """From scratch, the loss falls to a fifth; ends as soon as it has."""
    torch.set_num_threads(1)
    data = prepare(Source(str(shared_data / "fruits_nuts"), "coco"), out=tmp_path)
    coco = data.coco("train")
    settings = complete(SMALL)
    pictures = TrainingDataset({**coco, "images": coco["images"][:4]}, settings)
    shown, targets = zip(*(pictures[index] for index in range(4)), strict=True)
    torch.manual_seed(0)
    model = build_model(settings, len(data.classes)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, weight_decay=1e-4)
    first = loss = 0.0
    for step in range(STEPS):
        torch.manual_seed(step)
        optimizer.zero_grad()
        total = sum(model(list(shown), list(targets)).values())
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        loss = total.item()
        first = first or loss
        if loss < first / 5:
            break
    assert loss < first / 5


def test_the_whole_pipeline(shared_data: Path, tmp_path: Path) -> None:
    job = automl.image_instance_segmentation(
        training_data=Input(type="coco", path=str(shared_data / "fruits_nuts")), target_column_name="label"
    )
    job.set_training_parameters(**SMALL, number_of_epochs=1, number_of_workers=0, random_seed=1)
    files = run_local(job, tmp_path / "run")
    assert files.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    parity = json.loads((files.directory / "parity.json").read_text(encoding="utf-8"))
    assert parity["detections"] > 0
    assert not any(picture["breach"] for picture in parity["pictures"])
    facts = {entry.key: entry.value for entry in onnx.load(files.onnx).metadata_props}
    assert (facts["model_name"], facts["masks_in_boxes"]) == ("rfdetr_seg", "false")
    picture = np.asarray(open_upright(parity["pictures"][0]["file"]))
    found = OnnxModel(files.directory / "best_model")(picture, {"score_threshold": 0.0})
    assert len(found) == 100
    assert found.mask(0).shape == picture.shape[:2]
