"""Predictions of a model on prepared pictures."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools import mask as rle

from maskline.dataset import PreparedDataset
from maskline.models import build_model
from maskline.pictures import open_upright
from maskline.prediction import predict
from maskline.settings import complete

SETTINGS = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 64,
    "max_size": 96,
    "box_detections_per_image": 8,
    "number_of_workers": 0,
    "validation_batch_size": 2,
    "advanced_settings": {"pretrained_weights": "none", "mask_pixel_score_threshold": 0.45},
}


@pytest.fixture
def coco(tiny_prepared: Path) -> dict:
    train = PreparedDataset.read(tiny_prepared).coco("train")
    return {**train, "images": train["images"][:4]}


def test_predictions_are_what_the_model_pastes_on_each_picture_alone(coco: dict) -> None:
    torch.manual_seed(5)
    settings = complete(SETTINGS)
    model = build_model(settings, 2)
    found = predict(model, coco, settings, device=torch.device("cpu"))
    assert found
    assert model.roi_heads.score_thresh == settings.box_score_threshold  # the deployed one, again

    model.roi_heads.score_thresh = settings.advanced.metric_score_threshold
    for image in coco["images"]:
        picture = torch.from_numpy(np.array(open_upright(image["file_name"]))).permute(2, 0, 1) / 255
        with torch.inference_mode():
            (expected,) = model([picture])
        own = [one for one in found if one["image_id"] == image["id"]]
        assert [one["category_id"] for one in own] == expected["labels"].tolist()
        assert np.allclose([one["score"] for one in own], expected["scores"], atol=1e-6)
        for one, box, mask in zip(own, expected["boxes"].tolist(), expected["masks"], strict=True):
            x, y, width, height = one["bbox"]
            assert [x, y, x + width, y + height] == pytest.approx(box, abs=1e-3)
            pasted = (mask[0] > 0.45).numpy().astype(np.uint8)
            other = rle.decode(one["segmentation"])
            # In a batch the last bit may differ, and with it a pixel that lies on the threshold.
            assert (pasted != other).mean() < 0.002
