"""One training with one complete set of settings, in a process of its own.

Run by `supervise` as `python -m maskline.components.sweep_trial.train SPEC`; it knows nothing of the sweep.
"""

import json
import math
import os
import random
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from maskline import checkpoint
from maskline.artifacts import TrialDirectory
from maskline.dataset import PreparedDataset
from maskline.errors import MasklineError, StageError
from maskline.loading import InstanceDataset, loader
from maskline.metrics import primary_score
from maskline.models import build_model, weights
from maskline.prediction import default_device, predict
from maskline.settings import TrainingSettings, complete

from .optimization import EarlyStopping, learning_rate_factor, make_optimizer
from .spec import TrialSpec

LARGEST_GRADIENT = 5.0
"""Gradients are clipped to this value, element by element, as Azure ML does."""
DIVERGED_LOSS = 100.0
"""A loss above this ends the trial from the second epoch on: a deep model that starts from scratch may begin
above it. One that is no number ends it at once."""


def train(spec: TrialSpec) -> None:
    """Train, evaluate, and leave metrics and checkpoints in the trial's directory.

    Raises:
        StageError: the loss is no longer a number, or explodes.
        WeightsError: the weights to start from can't be had.
    """
    settings = complete(spec.settings)
    files = TrialDirectory(Path(spec.directory))
    data = PreparedDataset.read(spec.data)
    device = default_device()
    _seed(spec.seed)

    model = build_model(settings, len(data.classes))
    if (start := weights.fetch(settings)) is not None:
        missing = weights.load(model, start)
        print(f"not in the weights, so trained from scratch: {', '.join(missing) or 'nothing'}")
    model.to(device)
    dataset = InstanceDataset(data.coco("train"), augment=_augments(settings), seed=spec.seed)
    batches = loader(
        dataset,
        batch_size=settings.training_batch_size,
        workers=settings.number_of_workers,
        shuffle_seed=spec.seed,
    )
    optimizer = make_optimizer(model, settings)
    group = min(settings.gradient_accumulation_step, len(batches))
    steps_per_epoch = math.ceil(len(batches) / group)
    stopping = EarlyStopping(settings)
    supervisor = os.getppid()
    started = time.time()
    step = 0

    for epoch in range(1, settings.number_of_epochs + 1):
        dataset.set_epoch(epoch)
        model.train()
        losses: list[float] = []
        for number, (pictures, targets) in enumerate(batches):
            if number % group == 0:
                # The last group of an epoch may be smaller; its mean is over what it has.
                size = min(group, len(batches) - number)
                factor = learning_rate_factor(step, steps_per_epoch, settings)
                for parameters in optimizer.param_groups:
                    parameters["lr"] = settings.learning_rate * factor
            loss = _loss(model, pictures, targets, device)
            (loss / size).backward()  # type: ignore[no-untyped-call]
            losses.append(_finite(loss.item(), epoch))
            if number % group == group - 1 or number == len(batches) - 1:
                nn.utils.clip_grad_value_(model.parameters(), LARGEST_GRADIENT)
                optimizer.step()
                optimizer.zero_grad()
                step += 1
            if os.getppid() != supervisor:
                raise SystemExit("the supervisor is gone, and with it whoever wants to know")
            if time.time() > spec.deadline:
                break

        late = time.time() > spec.deadline
        last = epoch == settings.number_of_epochs or late
        line: dict[str, Any] = {
            "epoch": epoch,
            "train_loss": sum(losses) / len(losses),
            "learning_rate": settings.learning_rate * factor,
        }
        state = checkpoint.Checkpoint(spec.settings, data.classes, epoch, digest=data.digest)
        if epoch % settings.evaluation_frequency == 0 or last:
            score, metrics = _evaluate(model, data, settings, device, spec.seed)
            line |= {"score": score, **metrics}
            state = checkpoint.Checkpoint(
                spec.settings, data.classes, epoch, score=score, metrics=metrics, digest=data.digest
            )
            if stopping.improved(score):
                checkpoint.save(files.best, model, state)
        if epoch % settings.checkpoint_frequency == 0 or last or stopping.over:
            checkpoint.save(files.last, model, state)
        line["seconds"] = round(time.time() - started, 2)
        _append(files.metrics, line)
        print(f"epoch {epoch} of {settings.number_of_epochs}: {_told(line)}")
        if stopping.over or late:
            print("stopped early: " + ("out of time" if late else "no more improvement"))
            break


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _augments(settings: TrainingSettings) -> bool:
    return settings.advanced.apply_automl_train_augmentations


def _loss(
    model: nn.Module, pictures: list[Tensor], targets: list[dict[str, Tensor]], device: torch.device
) -> Tensor:
    on_device = [{name: tensor.to(device) for name, tensor in target.items()} for target in targets]
    mixed = device.type == "cuda" and torch.cuda.is_bf16_supported()
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
        parts: dict[str, Tensor] = model([picture.to(device) for picture in pictures], on_device)
    return torch.stack(list(parts.values())).sum()


def _finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss) or (epoch > 1 and loss > DIVERGED_LOSS):
        raise StageError(
            f"the training diverged: the loss is {loss:g} in epoch {epoch}; "
            "lower learning_rate, or lengthen warmup_cosine_lr_warmup_epochs"
        )
    return loss


def _evaluate(
    model: nn.Module, data: PreparedDataset, settings: TrainingSettings, device: torch.device, seed: int
) -> tuple[float, dict[str, float]]:
    """The score of an epoch, and all metrics by name."""
    truth = data.coco("validation")
    score, metrics = primary_score(settings, truth, predict(model, truth, settings, device=device))
    if settings.log_training_metrics == "enable":
        known = data.coco("train")
        _, on_training = primary_score(settings, known, predict(model, known, settings, device=device))
        metrics |= {f"{name}_train": value for name, value in on_training.items()}
    if settings.log_validation_loss == "enable":
        metrics["validation_loss"] = _validation_loss(model, truth, settings, device, seed)
    return score, metrics


def _validation_loss(
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
    total, pictures_seen = 0.0, 0
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(seed)
        for pictures, targets in batches:
            total += _loss(model, pictures, targets, device).item() * len(pictures)
            pictures_seen += len(pictures)
    return total / pictures_seen


def _told(line: dict[str, Any]) -> str:
    shown = ("train_loss", "learning_rate", "score", "seconds")
    return ", ".join(f"{name} {line[name]:.4g}" for name in shown if name in line)


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")


def main(arguments: list[str]) -> int:
    """Train by the spec file named; a failure leaves its reason in one line beside it."""
    spec = TrialSpec.read(Path(arguments[0]))
    try:
        train(spec)
    except Exception as error:  # whatever it was, the supervisor records it as this trial's failure
        traceback.print_exc()
        TrialDirectory(Path(spec.directory)).failure.write_text(_reason(error), encoding="utf-8")
        return 1
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, MasklineError):
        return " ".join(str(error).split())
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"{text}; lower training_batch_size or min_size"
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
