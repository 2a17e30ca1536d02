"""Pictures -> what a model finds on them, as COCO results at original resolution."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor, nn

from .loading import InstanceDataset, loader
from .settings import TrainingSettings


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def score_threshold(model: nn.Module, threshold: float) -> Iterator[None]:
    """Let the model report detections from this score on, for a while."""
    heads = model.roi_heads
    before, heads.score_thresh = heads.score_thresh, threshold  # type: ignore[union-attr]
    try:
        yield
    finally:
        heads.score_thresh = before  # type: ignore[union-attr]


def predict(
    model: nn.Module, coco: dict[str, Any], settings: TrainingSettings, *, device: torch.device | None = None
) -> list[dict[str, Any]]:
    """Detections on every picture of a split, with the score threshold that metrics ask for.

    Args:
        model: of `build_model`; left in evaluation mode.
        coco: a split (`PreparedDataset.coco`).
        settings: validation_batch_size, number_of_workers and the thresholds of advanced_settings.
        device: where to compute; the model is moved there.

    Returns:
        COCO results: image_id, category_id (from 1), score (0 ... 1), bbox [x, y, width, height] in
        pixels, segmentation (compressed RLE, at the size of the upright picture).
    """
    device = device or default_device()
    model.to(device).eval()
    batches = loader(
        InstanceDataset(coco), batch_size=settings.validation_batch_size, workers=settings.number_of_workers
    )
    found: list[dict[str, Any]] = []
    with torch.inference_mode(), score_threshold(model, settings.advanced.metric_score_threshold):
        for pictures, targets in batches:
            outputs = model([picture.to(device) for picture in pictures])
            for output, target in zip(outputs, targets, strict=True):
                found += results(
                    output, int(target["image_id"]), settings.advanced.mask_pixel_score_threshold
                )
    return found


def results(output: dict[str, Tensor], image_id: int, mask_threshold: float = 0.5) -> list[dict[str, Any]]:
    """One picture's output of a model as COCO results.

    Args:
        output: boxes (n, 4), labels (n,), scores (n,), masks (n, 1, H, W) float in 0 ... 1.
        image_id: id of the picture in the split.
        mask_threshold: a pixel belongs to the mask when its probability is above this.
    """
    boxes = output["boxes"].cpu().numpy().astype(float)
    masks = (output["masks"][:, 0] > mask_threshold).to(torch.uint8).cpu().numpy()
    # pycocotools wants columns first: (H, W, n) in Fortran order.
    encoded = rle.encode(np.asfortranarray(masks.transpose(1, 2, 0))) if len(masks) else []
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")},
        }
        for box, label, score, mask in zip(
            boxes.tolist(), output["labels"].tolist(), output["scores"].tolist(), encoded, strict=True
        )
    ]
