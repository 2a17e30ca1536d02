"""How good a model is after an epoch."""

from typing import Any

import torch
from torch import nn

from maskline.dataset import PreparedDataset
from maskline.loading import InstanceDataset, loader, random_key
from maskline.metrics import primary_score
from maskline.prediction import predict
from maskline.settings import TrainingSettings

from .feed import FEWER, lost_a_worker
from .gradients import LOSS, losses_of, out_of_memory
from .precision import Precision


def evaluate(
    model: nn.Module, data: PreparedDataset, settings: TrainingSettings, precision: Precision, seed: int
) -> dict[str, float]:
    """The primary metric of the validation pictures as `score`, and all other metrics by name.

    Changes nothing that training depends on, so it can be left and done anew.
    """
    truth = data.coco("validation")
    score, metrics = primary_score(settings, truth, _predicted(model, truth, settings, precision))
    found = {"score": score, **metrics}
    if settings.log_training_metrics == "enable":
        known = data.coco("train")
        _, on_training = primary_score(settings, known, _predicted(model, known, settings, precision))
        found |= {f"{name}_train": value for name, value in on_training.items()}
    if settings.log_validation_loss == "enable":
        found["validation_loss"] = validation_loss(model, truth, settings, precision, seed)
    return found


def _predicted(
    model: nn.Module, coco: dict[str, Any], settings: TrainingSettings, precision: Precision
) -> list[dict[str, Any]]:
    """The detections; with fewer pictures at a time, or fewer loading processes, where memory is short."""
    while True:
        try:
            return predict(model, coco, settings, device=precision.device)
        except (RuntimeError, MemoryError) as error:
            leaner = _leaner(settings, error)
            if leaner is None:
                raise
        settings = leaner


def _leaner(settings: TrainingSettings, error: Exception) -> TrainingSettings | None:
    pictures, workers = settings.validation_batch_size, settings.number_of_workers
    if out_of_memory(error) and pictures > 1:
        print(f"{pictures} pictures at a time don't fit into memory; evaluating {pictures // 2}")
        return settings.model_copy(update={"validation_batch_size": pictures // 2})
    if lost_a_worker(error) and workers:
        print(FEWER.format(" ".join(str(error).split()), workers // 2))
        return settings.model_copy(update={"number_of_workers": workers // 2})
    return None


def validation_loss(
    model: nn.Module, truth: dict[str, Any], settings: TrainingSettings, precision: Precision, seed: int
) -> float:
    """Mean loss of the validation pictures; the sampling of regions is the same in every epoch."""
    batches = loader(
        InstanceDataset(truth), batch_size=settings.validation_batch_size, workers=settings.number_of_workers
    )
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    total = 0.0
    with torch.no_grad():
        for number, (pictures, targets) in enumerate(batches):
            torch.manual_seed(random_key(seed, 0, number))
            total += losses_of(model, pictures, targets, precision)[LOSS].item() * len(pictures)
    return total / len(truth["images"])
