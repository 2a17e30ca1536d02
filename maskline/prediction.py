"""Pictures -> what a model finds on them, as COCO results at original resolution."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from .loading import PictureDataset, loader
from .models import family_of
from .settings import TrainingSettings


def default_device() -> torch.device:
    """The first GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


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
    own, threshold = family_of(settings.model_name), settings.advanced.mask_pixel_score_threshold
    lowest = settings.advanced.metric_score_threshold
    for pictures, targets in batches:
        # Not around the `yield`: what the caller does in between is none of the model's business.
        with torch.inference_mode(), own.reporting(model, lowest, small_masks=True):
            outputs = model([picture.to(device) for picture in pictures])
        for picture, output, target in zip(pictures, outputs, targets, strict=True):
            height, width = picture.shape[-2:]
            yield own.results(output, int(target["image_id"]), height, width, threshold)
