"""What the next trial tries: a point of the search space, drawn through Optuna."""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import optuna

from maskline.distributions import (
    Choice,
    Distribution,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Randint,
    Uniform,
)
from maskline.rules import Rule
from maskline.search_space import SearchSpace
from maskline.settings import TrainingSettings

from .sampling import QUANTILE, SPACE, parameter_name

QUANTILE_MARGIN = 1e-6
"""Normal forms are drawn by quantile, this far from 0 and 1."""


def propose(
    trial: optuna.Trial, spaces: Sequence[SearchSpace], fixed: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Draw a point of the search space.

    Args:
        trial: an Optuna trial; its study's sampler draws.
        spaces: sub-spaces, one of which is drawn first; empty to train with the fixed values.
        fixed: training parameters that the user fixed; they win over the search space.

    Returns:
        What was drawn, by parameter name, as users name it; and that over the fixed values: all that is not
        a default.
    """
    if not spaces:
        return {}, dict(fixed)
    index = 0
    if len(spaces) > 1:
        index = trial.suggest_categorical(SPACE, list(range(len(spaces))))
    drawn: dict[str, Any] = {}
    for name, knob in spaces[index].knobs.items():
        if name in fixed:
            drawn[name] = fixed[name]
        elif isinstance(knob, Distribution):
            drawn[name] = draw(trial, name, knob, parameter_name(spaces, index, name))
        else:
            drawn[name] = knob
    return drawn, {**drawn, **fixed}


def draw(trial: optuna.Trial, name: str, knob: Distribution, called: str) -> Any:
    """A value of the parameter, which Optuna knows as `called`: drawn, rounded, brought into its range."""
    rule = Rule.of(TrainingSettings.model_fields[name])
    raw = _value(trial, called, knob, rule)
    if rule.kind not in ("int", "float"):
        return raw
    legal = rule.nearest(raw)
    if legal != raw:
        print(f"{name}={raw:g}, as drawn, is outside its range; {legal:g} is taken")
    return round(legal) if rule.kind == "int" else legal


def _value(trial: optuna.Trial, name: str, knob: Distribution, rule: Rule) -> Any:
    """A draw, by the formulas of maskline.search_space."""
    match knob:
        case Choice():
            return trial.suggest_categorical(name, list(knob.values))  # type: ignore[arg-type]
        case Randint():
            return trial.suggest_int(name, 0, knob.upper - 1)
        case Uniform():
            return trial.suggest_float(name, knob.min_value, knob.max_value)
        case LogUniform():
            return trial.suggest_float(name, *knob.bounds(), log=True)
        case QUniform():
            return _step(trial.suggest_float(name, knob.min_value, knob.max_value), knob.q)
        case QLogUniform():
            return _step(trial.suggest_float(name, *knob.bounds(), log=True), knob.q)
        case Normal() | QNormal() | LogNormal() | QLogNormal():
            law, least = NormalDist(knob.mu, knob.sigma), QUANTILE_MARGIN
            log = isinstance(knob, LogNormal | QLogNormal)
            if rule.low_open and not log:
                # No least legal value could be taken instead, so nothing below the end is drawn.
                least = max(least, law.cdf(rule.low) + QUANTILE_MARGIN)
            value = law.inv_cdf(trial.suggest_float(name + QUANTILE, least, 1 - QUANTILE_MARGIN))
            value = math.exp(value) if log else value
            return _step(value, knob.q) if isinstance(knob, QNormal | QLogNormal) else value
    raise TypeError(f"{knob} can't be drawn from")


def _step(value: float, q: float) -> float:
    """The nearest multiple of q, without the noise that 3 * 0.1 has."""
    return float(f"{round(value / q) * q:.12g}")
