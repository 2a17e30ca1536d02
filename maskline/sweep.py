"""How a sweep goes about it: sampling, early termination, limits. Data only; the work is in sweep_trial."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, model_validator

from .distributions import (
    Choice,
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
from .errors import JobError
from .rules import Part, show
from .settings import CountOrZero
from .words import Word

__all__ = [
    "AshaPolicy",
    "ClosingBanditPolicy",
    "BanditPolicy",
    "BayesianSamplingAlgorithm",
    "Choice",
    "EarlyTerminationPolicy",
    "GridSamplingAlgorithm",
    "ImageLimitSettings",
    "ImageSweepSettings",
    "LogNormal",
    "LogUniform",
    "MedianStoppingPolicy",
    "Normal",
    "QLogNormal",
    "QLogUniform",
    "QNormal",
    "QUniform",
    "Randint",
    "RandomSamplingAlgorithm",
    "SamplingAlgorithm",
    "TruncationSelectionPolicy",
    "Uniform",
]


class SamplingAlgorithm(Word):
    """How points of the search space are chosen."""

    RANDOM = "random"
    GRID = "grid"
    BAYESIAN = "bayesian"


class RandomSamplingAlgorithm(Part):
    """Independent draws; the longer form of `random`."""

    model_config = ConfigDict(frozen=True)

    type: Literal["random"] = "random"
    rule: Literal["random", "sobol"] | None = None
    """How points are spread; `sobol` spreads them evenly."""
    seed: CountOrZero | None = None
    """Of the draws; the run's seed, if left out."""
    logbase: str | float | None = None
    """Base of the logarithms in log distributions; only e, which they have anyway."""


class GridSamplingAlgorithm(Part):
    """Every combination; the longer form of `grid`."""

    model_config = ConfigDict(frozen=True)

    type: Literal["grid"] = "grid"


class BayesianSamplingAlgorithm(Part):
    """Draws that learn from earlier trials; the longer form of `bayesian`."""

    model_config = ConfigDict(frozen=True)

    type: Literal["bayesian"] = "bayesian"
    seed: CountOrZero | None = None
    """Of the draws; the run's seed, if left out. Maskline's own."""


class EarlyTerminationPolicy(Part):
    """When a trial that does badly is ended. An interval is one evaluation, so one value of the metric."""

    model_config = ConfigDict(frozen=True)

    evaluation_interval: CountOrZero = 0
    """The policy is applied at multiples of this interval; 0 means 1."""
    delay_evaluation: CountOrZero = 0
    """Evaluations before it is applied for the first time."""


class BanditPolicy(EarlyTerminationPolicy):
    """End a trial that falls behind the best one by more than a slack."""

    type: Literal["bandit"] = "bandit"
    slack_factor: Annotated[float, Field(ge=0)] = 0
    """Ends a trial whose best value is below best / (1 + slack_factor), best being that of all trials."""
    slack_amount: Annotated[float, Field(ge=0)] = 0
    """Ends a trial whose best value is below best - slack_amount."""

    @model_validator(mode="after")
    def _check_slack(self) -> "BanditPolicy":
        if (self.slack_factor > 0) == (self.slack_amount > 0):
            given = f"slack_factor={self.slack_factor:g} and slack_amount={self.slack_amount:g}"
            raise ValueError(f"{given}: a bandit has one of them; set one above 0 and leave the other out")
        return self


class ClosingBanditPolicy(EarlyTerminationPolicy):
    """A bandit whose slack closes as trainings go on, Maskline's own: late starters get time, laggards don't.

    At evaluation k the slack is slack_factor * ((evaluations - k) / (evaluations - delay_evaluation)) ** 3.5.
    """

    type: Literal["closing_bandit"] = "closing_bandit"
    slack_factor: Annotated[float, Field(gt=0)] = 2
    """The slack at delay_evaluation; a trial ends whose best value is below best / (1 + slack)."""
    evaluations: Annotated[int, Field(ge=1)]
    """Of a whole training. At the last one nothing is ended, since nothing is left to save."""

    @model_validator(mode="after")
    def _check_delay(self) -> "ClosingBanditPolicy":
        if self.delay_evaluation >= self.evaluations:
            given = f"delay_evaluation={self.delay_evaluation} and evaluations={self.evaluations}"
            raise ValueError(f"{given}: the slack has no evaluation to close by; lower delay_evaluation")
        return self


class MedianStoppingPolicy(EarlyTerminationPolicy):
    """End a trial whose best value is below the median of the trials' running averages."""

    type: Literal["median_stopping"] = "median_stopping"
    evaluation_interval: CountOrZero = 1
    """The policy is applied at multiples of this interval."""


class AshaPolicy(EarlyTerminationPolicy):
    """Successive halving without waiting, Maskline's own: at each rung only the best part goes on.

    Rungs are at delay_evaluation, then each time reduction_factor times later, in evaluations.
    """

    type: Literal["asha"] = "asha"
    reduction_factor: Annotated[int, Field(ge=2)] = 3
    """One in this many goes on at a rung."""


class TruncationSelectionPolicy(EarlyTerminationPolicy):
    """End the lowest trials at each interval."""

    hints = {"exclude_finished_jobs": "is no parameter of truncation_selection; remove it"}

    type: Literal["truncation_selection"] = "truncation_selection"
    truncation_percentage: Annotated[int, Field(ge=1, le=99)]
    """How many are ended, in percent."""


def _by_type(kinds: Mapping[str, type[Part]], value: Any) -> Any:
    """A mapping to the part that its `type` names."""
    if not isinstance(value, Mapping):
        return value
    kind = str(value.get("type")).rsplit(".", 1)[-1].lower()
    if kind not in kinds:
        given = f"type={show(value['type'])} is not legal" if "type" in value else "type is missing"
        raise JobError(f"{given}; choose one of {', '.join(kinds)}")
    return kinds[kind](**{str(k): v for k, v in value.items() if k != "type"})


_SAMPLING: Mapping[str, type[Part]] = {
    "random": RandomSamplingAlgorithm,
    "grid": GridSamplingAlgorithm,
    "bayesian": BayesianSamplingAlgorithm,
}
_POLICIES: Mapping[str, type[Part]] = {
    "bandit": BanditPolicy,
    "median_stopping": MedianStoppingPolicy,
    "truncation_selection": TruncationSelectionPolicy,
    "asha": AshaPolicy,
    "closing_bandit": ClosingBanditPolicy,
}


def _sampling(value: Any) -> Any:
    """Long forms that say no more than the word become the word."""
    found = _by_type(_SAMPLING, value)
    if isinstance(found, Part) and (plain := found.plain()).get("type") in _SAMPLING:
        return found if len(plain) > 1 else SamplingAlgorithm(plain["type"])
    try:
        return SamplingAlgorithm(found)
    except ValueError:
        legal = ", ".join(_SAMPLING)
        raise ValueError(f"is not a sampling algorithm; choose one of {legal}") from None


def _policy(value: Any) -> Any:
    found = _by_type(_POLICIES, value)
    if not isinstance(found, tuple(_POLICIES.values())):
        raise ValueError(f"is not a policy; give one of {', '.join(_POLICIES)} with its parameters")
    return found


class ImageSweepSettings(Part):
    """How a sweep samples, and when it ends trials early."""

    sampling_algorithm: Annotated[
        SamplingAlgorithm | RandomSamplingAlgorithm | BayesianSamplingAlgorithm, BeforeValidator(_sampling)
    ]
    """`random`, `grid` or `bayesian`."""
    early_termination: Annotated[EarlyTerminationPolicy, BeforeValidator(_policy)] | None = None
    """When a trial that does badly is ended; never, if left out."""
    warm_start_from: Annotated[str, Field(min_length=1)] | None = None
    """A former run, by name or directory, whose trials bayesian sampling learns from. Maskline's own."""

    def plain(self) -> dict[str, Any]:
        """What was set, as plain data."""
        sampling, policy = self.sampling_algorithm, self.early_termination
        plain = {"sampling_algorithm": sampling.plain() if isinstance(sampling, Part) else sampling.value}
        if policy:
            plain["early_termination"] = policy.plain()
        return plain | ({"warm_start_from": self.warm_start_from} if self.warm_start_from else {})

    @property
    def algorithm(self) -> str:
        """The word for the algorithm, whichever form it was given in."""
        sampling = self.sampling_algorithm
        return sampling.plain()["type"] if isinstance(sampling, Part) else sampling.value


def _minutes(value: Any) -> Any:
    return value.total_seconds() / 60 if isinstance(value, timedelta) else value


def _count(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is not a number; give a whole number")
    return value


class ImageLimitSettings(Part):
    """What a sweep may spend."""

    hints = {
        "max_nodes": "is no limit of image jobs; use max_concurrent_trials",
    }

    max_trials: Annotated[int, BeforeValidator(_count), Field(ge=1, le=1000)] = 1
    """Trials in all."""
    max_concurrent_trials: Annotated[int, BeforeValidator(_count), Field(ge=1, le=100)] = 1
    """Trials at a time."""
    timeout_minutes: Annotated[
        int, BeforeValidator(_minutes), BeforeValidator(_count), Field(ge=1, le=86400)
    ] = 10080
    """Minutes for the whole job: then running trials stop at a checkpoint, and count with what they have. A
    datetime.timedelta is read too."""
    trial_timeout_minutes: (
        Annotated[int, BeforeValidator(_minutes), BeforeValidator(_count), Field(ge=1, le=86400)] | None
    ) = None
    """The same for a single trial. Maskline's own."""
    max_process_deaths: Annotated[int, BeforeValidator(_count), Field(ge=1, le=100)] = 2
    """A trial whose process was killed this many times has failed; before that it is continued from its
    checkpoint. Maskline's own."""

    @property
    def concurrent_trials(self) -> int:
        """Trials at a time: `max_concurrent_trials`, and never more than there are trials."""
        return min(self.max_concurrent_trials, self.max_trials)
