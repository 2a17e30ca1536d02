"""Optimiser and learning-rate schedule, from the settings."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from maskline.advanced import AdvancedSettings
from maskline.settings import TrainingSettings


def make_optimizer(model: nn.Module, settings: TrainingSettings) -> Optimizer:
    """The optimiser over the trainable parameters; biases and normalisation have no weight decay."""
    decayed, free = _groups(model)
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, lr=settings.learning_rate, momentum=settings.momentum, nesterov=settings.nesterov
        )
    kind = torch.optim.Adam if settings.optimizer == "adam" else torch.optim.AdamW
    return kind(
        groups,
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        amsgrad=settings.ams_gradient,
    )


CLIP = {"value": 5.0, "norm": 1.0}
"""Largest gradient unless the settings say another; Azure ML clips by value at 5."""


def clip_gradients(model: nn.Module, advanced: AdvancedSettings) -> None:
    """Keep gradients from exploding, by `grad_clip_type` and `grad_clip`, in place."""
    if advanced.grad_clip_type == "value":
        nn.utils.clip_grad_value_(model.parameters(), advanced.grad_clip or CLIP["value"])
    elif advanced.grad_clip_type == "norm":
        nn.utils.clip_grad_norm_(model.parameters(), advanced.grad_clip or CLIP["norm"])


def make_average(model: nn.Module, decay: float) -> AveragedModel | None:
    """An exponential moving average of a model's weights and statistics; None at a decay of 0.

    After n updates the decay is at most (1 + n) / (10 + n), as in TensorFlow's ExponentialMovingAverage, so
    that the average of a short training isn't its beginning.
    """
    if not decay:
        return None

    def update(averages: Any, current: Any, updates: Tensor | int) -> None:
        done = int(updates)
        decayed = get_ema_multi_avg_fn(min(decay, (1 + done) / (10 + done)))  # type: ignore[no-untyped-call]
        decayed(averages, current, done)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def _groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for parameter in _trainable(model):
        # Vectors are biases and the scales of normalisation layers.
        (decayed if parameter.ndim > 1 else free).append(parameter)
    return decayed, free


def _trainable(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.requires_grad)


def learning_rate_factor(step: int, steps_per_epoch: int, settings: TrainingSettings) -> float:
    """What the base learning rate is multiplied by, at an optimiser step.

    `warmup_cosine` rises in a straight line from 1/W of the rate at the first step to all of it at step W,
    then falls along a cosine. Warm-up takes at most half of the training, so that a short one reaches the
    full rate too. `step` multiplies by step_lr_gamma every step_lr_step_size epochs.

    Args:
        step: optimiser steps done, from 0.
        steps_per_epoch: optimiser steps an epoch.
        settings: learning_rate_scheduler and its parameters, number_of_epochs.

    Returns:
        The factor, 0 to 1.
    """
    if settings.learning_rate_scheduler == "step":
        return settings.step_lr_gamma ** (step // steps_per_epoch // settings.step_lr_step_size)
    total = settings.number_of_epochs * steps_per_epoch
    warmup = min(settings.warmup_cosine_lr_warmup_epochs * steps_per_epoch, total // 2)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return 0.5 * (1 + math.cos(2 * math.pi * settings.warmup_cosine_lr_cycles * progress))


class EarlyStopping:
    """Ends a training that no longer improves.

    The first early_stopping_delay evaluations don't count against it; after them, early_stopping_patience
    evaluations in a row without a strict improvement end the training.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self._settings = settings
        self.evaluations = 0
        self.waited = 0
        self.best = -math.inf

    def improved(self, score: float) -> bool:
        """Count an evaluation; say whether it is the best so far."""
        self.evaluations += 1
        better = score > self.best
        if better:
            self.best, self.waited = score, 0
        elif self.evaluations > self._settings.early_stopping_delay:
            self.waited += 1
        return better

    def state(self) -> dict[str, float | None]:
        """What it counted so far, as JSON can hold it."""
        best = None if math.isinf(self.best) else self.best
        return {"evaluations": self.evaluations, "waited": self.waited, "best": best}

    def restore(self, evaluations: int = 0, waited: int = 0, best: float | None = None) -> None:
        """The inverse of `state`."""
        self.evaluations, self.waited = evaluations, waited
        self.best = -math.inf if best is None else best

    @property
    def over(self) -> bool:
        """Whether training should end now."""
        return self._settings.early_stopping and self.waited >= self._settings.early_stopping_patience
