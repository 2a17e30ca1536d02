"""What a sweep draws from: sub-spaces, whose distributions are checked against their parameters.

What is rounded or normal can still be drawn outside a parameter's range; whoever draws then takes the
nearest legal value (`Rule.nearest`).
"""

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from pydantic import ValidationError

from .distributions import (
    DISTRIBUTIONS,
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
    distribution,
)
from .errors import JobError, KeywordError
from .rules import Rule, join, lines, nearest_name
from .settings import TrainingSettings

__all__ = [
    "NOT_SWEEPABLE",
    "SWEEPABLE",
    "Choice",
    "Distribution",
    "LogNormal",
    "LogUniform",
    "Normal",
    "QLogNormal",
    "QLogUniform",
    "QNormal",
    "QUniform",
    "Randint",
    "SearchSpace",
    "Uniform",
]

NOT_SWEEPABLE = frozenset(
    {
        "advanced_settings",
        "checkpoint_frequency",
        "checkpoint_run_id",
        "log_training_metrics",
        "log_validation_loss",
    }
)
SWEEPABLE = tuple(name for name in TrainingSettings.model_fields if name not in NOT_SWEEPABLE)


_LEGAL: Mapping[str, tuple[str, ...]] = {
    "float": tuple(DISTRIBUTIONS),
    "int": ("choice", "quniform", "qloguniform", "qnormal", "qlognormal", "randint"),
}


class SearchSpace:
    """One sub-space of a search: for each parameter in it a distribution or a fixed value.

    A trial draws from one sub-space, so a sub-space usually holds the models of one family.

    Example:
        >>> space = SearchSpace(learning_rate=Uniform(0.001, 0.01), optimizer=Choice(["sgd", "adamw"]))
        >>> space.learning_rate.max_value
        0.01

    Raises:
        JobError: a name that is no parameter or can't be swept, a distribution that the parameter doesn't
            allow, or a value outside the parameter's range; all of them at once.
    """

    knobs: Mapping[str, Any]
    """By parameter name a Distribution, or a plain value: bool, int, float or str."""

    def __init__(self, **knobs: Any) -> None:
        found: dict[str, Any] = {}
        problems: list[str] = []
        kind = JobError
        for name, knob in knobs.items():
            try:
                if name not in SWEEPABLE:
                    raise KeywordError(_not_sweepable(name))
                if knob is not None:
                    found[name] = _checked(name, distribution(knob))
            except JobError as error:
                problems += [line if line.startswith(name) else join(name, line) for line in error.problems]
                kind = KeywordError if isinstance(error, KeywordError) else kind
        if problems:
            raise kind(problems)
        object.__setattr__(self, "knobs", {name: found[name] for name in knobs if name in found})

    def __getattr__(self, name: str) -> Any:
        """The distribution or value of a parameter; None if it isn't in this sub-space."""
        if name in SWEEPABLE:
            return self.knobs.get(name)
        raise AttributeError(f"{name} is not a parameter that can be swept; {nearest_name(name, SWEEPABLE)}")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name} can't be changed; make a new SearchSpace instead")

    def __iter__(self) -> Iterator[str]:
        return iter(self.knobs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.knobs == other.knobs

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"SearchSpace({', '.join(f'{name}={value}' for name, value in self.knobs.items())})"

    def plain(self) -> dict[str, Any]:
        """The sub-space as in YAML."""
        return {k: v.plain() if isinstance(v, Distribution) else v for k, v in self.knobs.items()}


def _not_sweepable(name: str) -> str:
    if name in NOT_SWEEPABLE:
        return f"{name} can't be swept; set it in training_parameters"
    return f"{name} is not a parameter that can be swept; {nearest_name(name, SWEEPABLE)}"


def _checked(name: str, value: Any) -> Any:
    """The distribution or literal, with literals turned to the parameter's type."""
    if isinstance(value, Choice):
        found, problems = [], []
        for index, one in enumerate(value.values):
            try:
                found.append(_literal(name, one))
            except JobError as error:
                problems += [line.replace(name, f"{name}.values[{index}]", 1) for line in error.problems]
        if problems:
            raise JobError(problems)
        return Choice(found)
    if not isinstance(value, Distribution):
        return _literal(name, value)
    _check_kind(name, value)
    _check_range(name, value)
    return value


def _literal(name: str, value: Any) -> Any:
    try:
        settings = TrainingSettings.model_validate({name: value})
    except ValidationError as error:
        raise JobError(lines(error, TrainingSettings)) from None
    if (found := settings.model_dump(mode="json")[name]) is None:
        raise JobError(f"{name}=null is no value; leave it out to use the default")
    return found


def _check_kind(name: str, value: Distribution) -> None:
    """Which distributions a parameter allows, as on Azure."""
    rule = Rule.of(TrainingSettings.model_fields[name])
    legal = _LEGAL.get(rule.kind, ("choice",))
    if value.kind not in legal:
        raise JobError(f"{name}={value} can't be drawn: {name} is {rule.noun}; use {' or '.join(legal)}")
    if rule.kind == "int" and (odd := {k: v for k, v in value.numbers().items() if not v.is_integer()}):
        raise JobError(
            [f"{name}.{k}={v:g} must be a whole number, as {name} is; round it" for k, v in odd.items()]
        )


def _check_range(name: str, value: Distribution) -> None:
    """The ends of what can be drawn lie in the parameter's range."""
    rule = Rule.of(TrainingSettings.model_fields[name])
    problems = []
    for field, end in value.ends():
        if not rule.allows(end):
            given = f"{getattr(value, field):g}"
            shown = given if given == f"{end:g}" else f"{given}, a draw of {end:g},"
            log = (
                "; ends of log forms are natural logarithms: log(0.01) is -4.605"
                if "log" in value.kind
                else ""
            )
            problems.append(rule.outside(f"{name}.{field}", shown) + log)
    if problems:
        raise JobError(problems[:1] if isinstance(value, Randint) else problems)
