"""Pictures -> what a model finds on them, as COCO results at original resolution."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .loading import PictureDataset, loader
from .pasting import paste
from .settings import TrainingSettings


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def small_masks(model: nn.Module, score_threshold: float) -> Iterator[None]:
    """For a while, let the model report detections from this score on, with masks as it makes them: small."""
    heads: Any = model.roi_heads
    transform: Any = model.transform
    before = heads.score_thresh, transform.pastes_masks
    heads.score_thresh, transform.pastes_masks = score_threshold, False
    try:
        yield
    finally:
        heads.score_thresh, transform.pastes_masks = before


def predict(
    model: nn.Module, coco: dict[str, Any], settings: TrainingSettings, *, device: torch.device | None = None
) -> list[dict[str, Any]]:
    """All of `predict_pictures` as one list."""
    return [found for picture in predict_pictures(model, coco, settings, device=device) for found in picture]


def predict_pictures(
    model: nn.Module, coco: dict[str, Any], settings: TrainingSettings, *, device: torch.device | None = None
) -> Iterator[list[dict[str, Any]]]:
    """Detections on every picture of a split, with the score threshold that metrics ask for.

    A picture at a time, so that memory doesn't grow with their number.

    Args:
        model: of `build_model`; left in evaluation mode.
        coco: a split (`PreparedDataset.coco`).
        settings: validation_batch_size, number_of_workers and the thresholds of advanced_settings.
        device: where to compute; the model is moved there.

    Yields:
        COCO results: image_id, category_id (from 1), score (0 ... 1), bbox [x, y, width, height] in
        pixels, segmentation (compressed RLE, at the size of the upright picture).
    """
    device = device or default_device()
    model.to(device).eval()
    batches = loader(
        PictureDataset(coco), batch_size=settings.validation_batch_size, workers=settings.number_of_workers
    )
    threshold = settings.advanced.mask_pixel_score_threshold
    for pictures, targets in batches:
        # Not around the `yield`: what the caller does in between is none of the model's business.
        with torch.inference_mode(), small_masks(model, settings.advanced.metric_score_threshold):
            outputs = model([picture.to(device) for picture in pictures])
        for picture, output, target in zip(pictures, outputs, targets, strict=True):
            height, width = picture.shape[-2:]
            yield results(output, int(target["image_id"]), height, width, threshold)


def results(
    output: dict[str, Tensor], image_id: int, height: int, width: int, mask_threshold: float = 0.5
) -> list[dict[str, Any]]:
    """One picture's output of a model as COCO results.

    Args:
        output: boxes (n, 4) in pixels, labels (n,), scores (n,), masks (n, 1, m, m) in 0 ... 1, as
            `small_masks` has the model give them.
        image_id: id of the picture in the split.
        height: of the picture in pixels.
        width: of the picture in pixels.
        mask_threshold: a pixel belongs to the mask when its probability is above this.
    """
    boxes = output["boxes"].float().cpu().numpy()
    soft = output["masks"].float().cpu().numpy()
    masks = paste(soft, boxes, height, width, mask_threshold)
    return [
        {
            "image_id": image_id,
            "category_id": int(label),
            "score": float(score),
            "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
            "segmentation": mask,
        }
        for box, label, score, mask in zip(
            boxes.tolist(), output["labels"].tolist(), output["scores"].tolist(), masks, strict=True
        )
    ]
