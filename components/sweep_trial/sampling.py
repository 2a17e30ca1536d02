"""Who chooses a trial's values: samplers for Optuna, each a function of seed, trial and what is known.

A trial is known by its number among the run's trials, from 0: not by Optuna's, which counts continuations
of lost trials too. So a lost trial changes nothing for those that follow. Several processes may sample at
the same time.
"""

import math
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, TPESampler
from optuna.trial import FrozenTrial

from maskline.automode import Strategy
from maskline.distributions import Choice, Distribution, Randint
from maskline.errors import StageError
from maskline.search_space import SearchSpace
from maskline.study import number_of
from maskline.sweep import ImageSweepSettings, RandomSamplingAlgorithm

SPACE = "search_space"
"""Optuna's name for the choice of the sub-space, where there are several."""
Point = Mapping[str, Any]
"""Values by Optuna's names; see `parameter_name`."""


def parameter_name(spaces: Sequence[SearchSpace], index: int, name: str) -> str:
    """What Optuna calls a parameter: those of several sub-spaces are told apart by the sub-space's index."""
    return f"{index}/{name}" if len(spaces) > 1 else name


def make_sampler(
    sweep: ImageSweepSettings | None,
    spaces: Sequence[SearchSpace],
    seed: int,
    fixed: Mapping[str, Any] | None = None,
) -> BaseSampler:
    """The sampler that a job asks for.

    Args:
        sweep: how the job samples; None is at random.
        spaces: the job's sub-spaces.
        seed: of the run; a seed in `sweep` wins.
        fixed: parameters that are fixed, which a grid leaves out.

    Raises:
        StageError: a grid over something that has no list of values.
    """
    sampling = sweep.sampling_algorithm if sweep else None
    chosen = getattr(sampling, "seed", None)
    seed = seed if chosen is None else chosen
    if sweep is not None and sweep.algorithm == "grid":
        return PointSampler(Grid(spaces, fixed or {}).point, TrialSampler(seed))
    if sweep is not None and sweep.algorithm == "bayesian":
        return LearningSampler(seed)
    if isinstance(sampling, RandomSamplingAlgorithm) and sampling.rule == "sobol":
        return SpreadSampler(_sobol(spaces, seed))
    return TrialSampler(seed)


class SpreadSampler(BaseSampler):
    """Values from numbers in [0, 1), which a function gives by trial number and parameter name."""

    def __init__(self, unit: Callable[[int, str], float]) -> None:
        self._unit = unit

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Every parameter on its own."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing: see `sample_independent`."""
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """One parameter's value, in Optuna's terms."""
        return spread(self._unit(number_of(study, trial), param_name), param_distribution)


def spread(unit: float, distribution: BaseDistribution) -> Any:
    """The value of a distribution that a share `unit` in [0, 1) of its draws lies below."""
    match distribution:
        case CategoricalDistribution():
            return distribution.choices[int(unit * len(distribution.choices))]
        case IntDistribution():
            return distribution.low + int(unit * (distribution.high - distribution.low + 1))
        case FloatDistribution(log=True):
            low, high = math.log(distribution.low), math.log(distribution.high)
            value = math.exp(low + unit * (high - low))
            return min(max(value, distribution.low), distribution.high)  # exp(log(x)) can miss x
        case FloatDistribution():
            return distribution.low + unit * (distribution.high - distribution.low)
    raise TypeError(f"{distribution} can't be spread over")


class TrialSampler(SpreadSampler):
    """Random draws that depend on the seed, the trial's number and the parameter's name only.

    So trials that run at the same time, in processes of their own, neither repeat one another nor depend on
    the order in which they start.
    """

    def __init__(self, seed: int) -> None:
        super().__init__(lambda number, name: _random(seed, number, name))


def _random(seed: int, number: int, name: str) -> float:
    return float(np.random.default_rng([seed, number, zlib.crc32(name.encode())]).random())


def _sobol(spaces: Sequence[SearchSpace], seed: int) -> Callable[[int, str], float]:
    """A scrambled Sobol sequence: a dimension for the sub-space and one for each parameter of each."""
    names = [SPACE] if len(spaces) > 1 else []
    for index, space in enumerate(spaces):
        drawn = [name for name, knob in space.knobs.items() if isinstance(knob, Distribution)]
        names += [parameter_name(spaces, index, name) for name in drawn]
    points: dict[int, list[float]] = {}

    def unit(number: int, name: str) -> float:
        if number not in points:
            from torch.quasirandom import SobolEngine  # heavy, and only for this rule

            engine: Any = SobolEngine(max(1, len(names)), scramble=True, seed=seed)  # type: ignore[no-untyped-call]
            engine.fast_forward(number)
            points[number] = engine.draw(1)[0].double().tolist()
        # Names of normal forms end in the word quantile: see propose.
        value = points[number][names.index(name.removesuffix(QUANTILE))]
        return min(value, math.nextafter(1.0, 0.0))  # single precision rounds up to 1

    return unit


QUANTILE = " (quantile)"
"""What Optuna's name of a normally distributed parameter ends in: its quantile is what is drawn."""


class PointSampler(SpreadSampler):
    """Points that are known beforehand, by trial number; another sampler chooses what they leave open."""

    def __init__(self, point: Callable[[int], Point], then: BaseSampler) -> None:
        self._point, self._then = point, then

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """What the other sampler looks at together; nothing, for a trial whose point is known."""
        if self._point(number_of(study, trial)):
            return {}
        return self._then.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """What the other sampler chooses together."""
        return self._then.sample_relative(study, trial, search_space) if search_space else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The point's value, or the other sampler's."""
        point = self._point(number_of(study, trial))
        if param_name in point:
            return point[param_name]
        return self._then.sample_independent(study, trial, param_name, param_distribution)


def automode_sampler(strategy: Strategy, seed: int) -> BaseSampler:
    """AutoMode's first points, then Bayesian sampling."""
    points = []
    for index, values in strategy.firsts:
        point = {parameter_name(strategy.spaces, index, name): value for name, value in values.items()}
        points.append(point | ({SPACE: index} if len(strategy.spaces) > 1 else {}))
    return PointSampler(lambda number: points[number] if number < len(points) else {}, LearningSampler(seed))


class LearningSampler(BaseSampler):
    """Optuna's TPE, which learns from the trials that have ended and keeps away from those that run.

    Conditional sub-spaces are learned apart (`group`), parameters of one together (`multivariate`). Each
    trial has a sampler of its own, whose seed follows from the run's seed and the trial's number: so trials
    that run one at a time are proposed alike whenever, and by whichever process, the run is repeated.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._made: dict[int, TPESampler] = {}

    def _of(self, study: optuna.Study, trial: FrozenTrial) -> TPESampler:
        number = number_of(study, trial)
        if number not in self._made:
            seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)  # of `group`; pinned to optuna 5
                self._made[number] = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        return self._made[number]

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """As TPE."""
        return self._of(study, trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """As TPE."""
        return self._of(study, trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """As TPE."""
        return self._of(study, trial).sample_independent(study, trial, param_name, param_distribution)


class Grid:
    """Every combination of a search space.

    The order: sub-spaces as they are listed; in a sub-space the first parameter changes slowest. What is
    fixed in the job is left out.
    """

    def __init__(self, spaces: Sequence[SearchSpace], fixed: Mapping[str, Any]) -> None:
        self._spaces = spaces
        self._values: list[dict[str, Sequence[Any]]] = [
            {
                parameter_name(spaces, index, name): values_of(name, knob)
                for name, knob in space.knobs.items()
                if isinstance(knob, Distribution) and name not in fixed
            }
            for index, space in enumerate(spaces)
        ]
        self._sizes = [math.prod(map(len, values.values())) for values in self._values]

    def __len__(self) -> int:
        return sum(self._sizes)

    def point(self, number: int) -> Point:
        """Point 0, 1 ... of the grid, by Optuna's names; empty when there are no more."""
        for index, (size, values) in enumerate(zip(self._sizes, self._values, strict=True)):
            if number < size:
                found = {SPACE: index} if len(self._spaces) > 1 else {}
                for name, some in reversed(values.items()):
                    number, place = divmod(number, len(some))
                    found[name] = some[place]
                return found
            number -= size
        return {}


def values_of(name: str, knob: Distribution) -> Sequence[Any]:
    """The values of a parameter in a grid.

    Raises:
        StageError: the distribution has no list of values.
    """
    if isinstance(knob, Choice):
        return list(dict.fromkeys(knob.values))
    if isinstance(knob, Randint):
        return range(knob.upper)
    raise StageError(f"{name}={knob} has no list of values for a grid; use choice or randint")
