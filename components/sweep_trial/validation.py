"""How good a model is after an epoch."""

from typing import Any

import torch
from torch import nn

from maskline.dataset import PreparedDataset
from maskline.loading import loader, random_key
from maskline.metrics import primary_score
from maskline.prediction import predict
from maskline.settings import TrainingSettings
from maskline.training_data import TrainingDataset

from .feed import FEWER, lost_a_worker
from .gradients import LOSS, losses_of, out_of_memory
from .precision import Precision
from .team import Team


def evaluate(
    model: nn.Module,
    data: PreparedDataset,
    settings: TrainingSettings,
    precision: Precision,
    seed: int,
    team: Team,
) -> dict[str, float]:
    """The primary metric of the validation pictures as `score`, and all other metrics by name.

    The processes of a team share the pictures, none of which is judged twice; the first computes the metrics
    of all. Changes nothing that training depends on, so it can be left and done anew.
    """
    truth = data.coco("validation")
    found = _scores(model, truth, settings, precision, team)
    if settings.log_training_metrics == "enable":
        on_training = _scores(model, data.coco("train"), settings, precision, team)
        found |= {f"{name}_train": value for name, value in on_training.items() if name != "score"}
    if settings.log_validation_loss == "enable":
        found["validation_loss"] = validation_loss(model, truth, settings, precision, seed, team)
    return found


def _scores(
    model: nn.Module, coco: dict[str, Any], settings: TrainingSettings, precision: Precision, team: Team
) -> dict[str, float]:
    """The primary metric of some pictures as `score`, and the others by name."""
    mine = {**coco, "images": coco["images"][team.rank :: team.size]}
    detections = team.gather(_predicted(model, mine, settings, precision))
    scores = None
    if team.leads:
        order = {image["id"]: place for place, image in enumerate(coco["images"])}
        detections.sort(key=lambda found: order[found["image_id"]])
        score, metrics = primary_score(settings, coco, detections)
        scores = {"score": score, **metrics}
    return team.tell(scores)


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
    model: nn.Module,
    truth: dict[str, Any],
    settings: TrainingSettings,
    precision: Precision,
    seed: int,
    team: Team,
) -> float:
    """Mean loss of the validation pictures, and of their tiles where there are any.

    Which regions are sampled is the same in every epoch.
    """
    dataset = TrainingDataset(truth, settings)
    size, pictures = settings.validation_batch_size, range(len(dataset))
    plan = {n: list(pictures[start : start + size]) for n, start in enumerate(pictures[::size])}
    mine = {number: plan[number] for number in range(team.rank, len(plan), team.size)}
    batches = loader(
        dataset,
        batch_size=size,
        workers=settings.number_of_workers,
        batches=mine.values(),
    )
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    total = 0.0
    with torch.no_grad():
        for number, (shown, targets) in zip(mine, batches, strict=True):
            torch.manual_seed(random_key(seed, 0, number))
            total += losses_of(model, shown, targets, precision)[LOSS].item() * len(shown)
    return sum(team.gather([total])) / len(pictures)
