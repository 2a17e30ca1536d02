"""Pictures -> what a model finds on them, as COCO results at original resolution."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from .loading import PictureDataset, loader
from .merging import Merger
from .models import family_of
from .settings import TrainingSettings
from .tiling import Tiling, Window


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

    A picture at a time, so that memory doesn't grow with their number. With a tiling, each is also looked at
    tile by tile, validation_batch_size views at a time, see `maskline.merging`.

    Args:
        model: of `build_model`; left in evaluation mode.
        coco: a split (`PreparedDataset.coco`).
        settings: validation_batch_size, number_of_workers, the tiling and the thresholds of
            advanced_settings.
        device: where to compute; the model is moved there.

    Yields:
        COCO results: image_id, category_id (from 1), score (0 ... 1), bbox [x, y, width, height] in
        pixels, segmentation (compressed RLE, at the size of the upright picture).
    """
    device = device or default_device()
    model.to(device).eval()
    tiling, size = Tiling.of(settings), settings.validation_batch_size
    batches = loader(
        PictureDataset(coco), batch_size=1 if tiling else size, workers=settings.number_of_workers
    )
    own, threshold = family_of(settings.model_name), settings.advanced.mask_pixel_score_threshold
    lowest = settings.advanced.metric_score_threshold

    def found_on(pictures: list[Tensor], image_ids: list[int]) -> list[list[dict[str, Any]]]:
        # Not around the `yield`: what the caller does in between is none of the model's business.
        with torch.inference_mode(), own.reporting(model, lowest, small_masks=True):
            outputs = model([picture.to(device) for picture in pictures])
        return [
            own.results(output, image_id, picture.shape[-2], picture.shape[-1], threshold)
            for picture, output, image_id in zip(pictures, outputs, image_ids, strict=True)
        ]

    for pictures, targets in batches:
        image_ids = [int(target["image_id"]) for target in targets]
        if tiling is None:
            yield from found_on(pictures, image_ids)
            continue
        height, width = pictures[0].shape[-2:]
        merger = Merger(width, height, tiling, settings.box_detections_per_image)
        for start in range(0, len(merger.views), size):
            views = merger.views[start : start + size]
            seen = found_on([_cut(pictures[0], view) for view in views], image_ids * len(views))
            for number, results in enumerate(seen, start):
                merger.add(number, results)
        yield [{"image_id": image_ids[0], **found} for found in merger.merged()]


def _cut(picture: Tensor, window: Window) -> Tensor:
    left, top, width, height = window
    return picture[:, top : top + height, left : left + width].contiguous()
