"""How good a model is after an epoch."""

from typing import Any

import torch
from torch import nn

from maskline.dataset import PreparedDataset
from maskline.loading import InstanceDataset, loader, random_key
from maskline.metrics import primary_score
from maskline.prediction import predict
from maskline.settings import TrainingSettings

from .gradients import LOSS, losses_of


def evaluate(
    model: nn.Module, data: PreparedDataset, settings: TrainingSettings, device: torch.device, seed: int
) -> dict[str, float]:
    """The primary metric of the validation pictures as `score`, and all other metrics by name.

    Changes nothing that training depends on, so it can be left and done anew.
    """
    truth = data.coco("validation")
    score, metrics = primary_score(settings, truth, predict(model, truth, settings, device=device))
    found = {"score": score, **metrics}
    if settings.log_training_metrics == "enable":
        known = data.coco("train")
        _, on_training = primary_score(settings, known, predict(model, known, settings, device=device))
        found |= {f"{name}_train": value for name, value in on_training.items()}
    if settings.log_validation_loss == "enable":
        found["validation_loss"] = validation_loss(model, truth, settings, device, seed)
    return found


def validation_loss(
    model: nn.Module, truth: dict[str, Any], settings: TrainingSettings, device: torch.device, seed: int
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
            total += losses_of(model, pictures, targets, device)[LOSS].item() * len(pictures)
    return total / len(truth["images"])
