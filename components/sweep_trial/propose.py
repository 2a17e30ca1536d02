"""What the next trial tries: a point of the search space, drawn through Optuna."""

import math
import zlib
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

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

SPACE = "search_space"
"""Optuna's name for the choice of the sub-space, where there are several."""
QUANTILE_MARGIN = 1e-6
"""Normal forms are drawn by quantile, this far from 0 and 1."""


class TrialSampler(RandomSampler):
    """Random draws that depend on the seed, the trial's number and the parameter's name only.

    So trials that run at the same time, in processes of their own, neither repeat one another nor depend on
    the order in which they start.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """One parameter's value, in Optuna's terms."""
        key = np.random.SeedSequence([self._seed, trial.number, zlib.crc32(param_name.encode())])
        seed = int(key.generate_state(1)[0])
        return RandomSampler(seed).sample_independent(study, trial, param_name, param_distribution)


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
    prefix = f"{index}/" if len(spaces) > 1 else ""
    drawn: dict[str, Any] = {}
    for name, knob in spaces[index].knobs.items():
        if isinstance(knob, Distribution):
            drawn[name] = _draw(trial, prefix, name, knob)
        else:
            drawn[name] = knob
    return drawn, {**drawn, **fixed}


def _draw(trial: optuna.Trial, prefix: str, name: str, knob: Distribution) -> Any:
    """A value of the parameter: drawn, rounded, and brought into the parameter's range."""
    rule = Rule.of(TrainingSettings.model_fields[name])
    raw = _value(trial, prefix + name, knob, rule)
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
            value = law.inv_cdf(trial.suggest_float(f"{name} (quantile)", least, 1 - QUANTILE_MARGIN))
            value = math.exp(value) if log else value
            return _step(value, knob.q) if isinstance(knob, QNormal | QLogNormal) else value
    raise TypeError(f"{knob} can't be drawn from")


def _step(value: float, q: float) -> float:
    return round(value / q) * q
