"""Optimiser, schedule and early stopping do what their parameters say."""

import math

import pytest
import torch
from torch import nn

from maskline.components.sweep_trial.optimization import EarlyStopping, learning_rate_factor, make_optimizer
from maskline.settings import complete


def model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_only_weights_decay() -> None:
    decayed, free = make_optimizer(model(), complete({"weight_decay": 0.03})).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.03, 0.0)
    assert [p.ndim for p in decayed["params"]] == [4, 2]
    assert [p.ndim for p in free["params"]] == [1, 1, 1, 1]


def test_frozen_parameters_are_left_out() -> None:
    net = model()
    net[0].requires_grad_(False)
    groups = make_optimizer(net, complete({})).param_groups
    assert sum(len(group["params"]) for group in groups) == 4


@pytest.mark.parametrize(
    ("chosen", "kind", "expected"),
    [
        ({"momentum": 0.7, "nesterov": False}, torch.optim.SGD, {"momentum": 0.7, "nesterov": False}),
        ({}, torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "lr": 0.005}),
        (
            {"optimizer": "adam", "beta1": 0.5, "beta2": 0.6, "ams_gradient": True},
            torch.optim.Adam,
            {"betas": (0.5, 0.6), "amsgrad": True},
        ),
        (
            {"optimizer": "adamw", "learning_rate": 0.01},
            torch.optim.AdamW,
            {"lr": 0.01, "betas": (0.9, 0.999), "amsgrad": False},
        ),
    ],
)
def test_optimizer(chosen: dict, kind: type, expected: dict) -> None:
    optimizer = make_optimizer(model(), complete(chosen))
    assert type(optimizer) is kind
    assert {name: optimizer.param_groups[0][name] for name in expected} == expected


def test_warmup_then_cosine_to_zero() -> None:
    settings = complete({"number_of_epochs": 10, "warmup_cosine_lr_warmup_epochs": 2})
    factors = [learning_rate_factor(step, 5, settings) for step in range(51)]
    assert factors[:10] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    assert factors[10] == 1.0
    assert factors[30] == pytest.approx(0.5)
    assert factors[50] == pytest.approx(0, abs=1e-12)


def test_cycles() -> None:
    settings = complete(
        {"number_of_epochs": 4, "warmup_cosine_lr_warmup_epochs": 0, "warmup_cosine_lr_cycles": 1.0}
    )
    factors = [learning_rate_factor(step, 2, settings) for step in (0, 4, 8)]
    assert factors == pytest.approx([1, 0, 1])


def test_a_short_training_reaches_the_full_rate() -> None:
    settings = complete({"number_of_epochs": 1, "warmup_cosine_lr_warmup_epochs": 2})
    assert max(learning_rate_factor(step, 8, settings) for step in range(8)) == 1.0


def test_step_schedule() -> None:
    settings = complete(
        {
            "learning_rate_scheduler": "step",
            "step_lr_gamma": 0.1,
            "step_lr_step_size": 2,
            "number_of_epochs": 6,
        }
    )
    by_epoch = [learning_rate_factor(epoch * 3, 3, settings) for epoch in range(6)]
    assert by_epoch == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert learning_rate_factor(2, 3, settings) == 1


@pytest.mark.parametrize(
    ("scores", "delay", "patience", "ends_after"),
    [
        # improvement at 1 and 2; then two evaluations without one
        ([0.1, 0.2, 0.2, 0.1, 0.3], 1, 2, 4),
        # evaluations within the delay don't count
        ([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], 3, 2, 5),
        # an equal score is no improvement; a better one starts the count anew
        ([0.1, 0.1, 0.2, 0.2, 0.2], 1, 2, 5),
        ([0.1, 0.2, 0.3, 0.4], 1, 1, None),
    ],
)
def test_early_stopping(scores: list[float], delay: int, patience: int, ends_after: int | None) -> None:
    stopping = EarlyStopping(complete({"early_stopping_delay": delay, "early_stopping_patience": patience}))
    ended = None
    for number, score in enumerate(scores, 1):
        stopping.improved(score)
        if stopping.over and ended is None:
            ended = number
    assert ended == ends_after


def test_early_stopping_can_be_off() -> None:
    stopping = EarlyStopping(
        complete({"early_stopping": False, "early_stopping_delay": 1, "early_stopping_patience": 1})
    )
    for score in (0.5, 0.1, 0.1, 0.1):
        stopping.improved(score)
    assert not stopping.over
    assert stopping.best == 0.5
    assert not math.isinf(stopping.best)
