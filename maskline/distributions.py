"""What the values of a parameter are drawn from.

A draw, with U uniform in [min_value, max_value] and N normal(mu, sigma):

    choice       one of values              randint      a whole number, 0 to upper - 1
    uniform      U                          quniform     round(U / q) * q
    loguniform   exp(U)                     qloguniform  round(exp(U) / q) * q
    normal       N                          qnormal      round(N / q) * q
    lognormal    exp(N)                     qlognormal   round(exp(N) / q) * q

The bounds of the log forms are natural logarithms.
"""

import ast
import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from .errors import JobError
from .rules import Part, show


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("is not a number; give a number")
    return value


Number = Annotated[float, BeforeValidator(_number)]
Positive = Annotated[Number, Field(gt=0)]


class Distribution(Part):
    """What a parameter's values are drawn from. `str()` gives the short form: `uniform(0.1, 0.2)`."""

    model_config = ConfigDict(frozen=True)

    def __init__(self, **values: Any) -> None:
        super().__init__(**values)

    @property
    def kind(self) -> str:
        """Its word in YAML, e.g. `uniform`."""
        return str(type(self).model_fields["type"].default)

    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest draw, before rounding to q; None if there are none, or no numbers."""
        return None

    def ends(self) -> list[tuple[str, float]]:
        """What must be legal for the parameter: each field, and the draw that it stands for."""
        names = [name for name in type(self).model_fields if name != "type"]
        return list(zip(names, self.bounds() or (), strict=False))

    def numbers(self) -> dict[str, float]:
        """The numbers that describe the distribution, by name."""
        return {k: v for k, v in self if k != "type" and isinstance(v, float)}

    def plain(self) -> dict[str, Any]:
        """The distribution as in YAML; whole numbers without a point."""
        return {k: _tidy(v) for k, v in super().plain().items()}

    def __str__(self) -> str:
        values = [_tidy(value) for name, value in self if name != "type"]
        return f"{self.kind}({', '.join(map(repr, values))})"


def _tidy(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


class Choice(Distribution):
    """One of `values`, all equally likely."""

    type: Literal["choice"] = "choice"
    values: Annotated[tuple[JsonValue, ...], Field(min_length=1)]

    def __init__(self, values: Any = None, **more: Any) -> None:
        if isinstance(values, list | tuple):
            values = [
                value.item() if hasattr(value, "item") else value for value in values
            ]  # numpy's numbers
        if isinstance(values, str):
            raise JobError(f"values={values!r} is one word; give a list of values: [{values!r}, …]")
        super().__init__(values=values, **more)

    def bounds(self) -> tuple[float, float] | None:
        """Least and greatest value, if all are numbers."""
        numbers = [v for v in self.values if isinstance(v, int | float) and not isinstance(v, bool)]
        return (min(numbers), max(numbers)) if len(numbers) == len(self.values) else None

    def plain(self) -> dict[str, Any]:
        """The distribution as in YAML."""
        return {"type": "choice", "values": list(self.values)}

    def __str__(self) -> str:
        return f"choice({', '.join(map(repr, self.values))})"


class Randint(Distribution):
    """A whole number from 0 to `upper` - 1."""

    type: Literal["randint"] = "randint"
    upper: Annotated[int, BeforeValidator(_number), Field(ge=1)]

    def __init__(self, upper: Any = None, **more: Any) -> None:
        super().__init__(upper=upper, **more)

    def bounds(self) -> tuple[float, float]:
        """0 and upper - 1."""
        return 0, self.upper - 1

    def ends(self) -> list[tuple[str, float]]:
        """Both ends follow from `upper`."""
        return [("upper", end) for end in self.bounds()]


class _Between(Distribution):
    min_value: Number
    max_value: Number

    def __init__(self, min_value: Any = None, max_value: Any = None, **more: Any) -> None:
        super().__init__(min_value=min_value, max_value=max_value, **more)

    @model_validator(mode="after")
    def _check_order(self) -> "_Between":
        # Equal ends are legal, as on Azure: every draw is that value.
        if self.min_value > self.max_value:
            raise ValueError(f"min_value={self.min_value:g} is above max_value={self.max_value:g}; swap them")
        return self

    def bounds(self) -> tuple[float, float]:
        """The two ends."""
        return self.min_value, self.max_value


class Uniform(_Between):
    """Every number between the ends is equally likely."""

    type: Literal["uniform"] = "uniform"


class LogUniform(_Between):
    """Every order of magnitude is equally likely; the ends are natural logarithms."""

    type: Literal["loguniform"] = "loguniform"

    def bounds(self) -> tuple[float, float]:
        """The two ends as numbers: exp of each."""
        return _exp(self.min_value), _exp(self.max_value)


class _Steps(_Between):
    q: Positive

    def __init__(self, min_value: Any = None, max_value: Any = None, q: Any = None, **more: Any) -> None:
        super().__init__(min_value, max_value, q=q, **more)


class QUniform(_Steps):
    """As `Uniform`, rounded to multiples of q."""

    type: Literal["quniform"] = "quniform"


class QLogUniform(_Steps):
    """As `LogUniform`, rounded to multiples of q."""

    type: Literal["qloguniform"] = "qloguniform"

    def bounds(self) -> tuple[float, float]:
        """The two ends as numbers: exp of each."""
        return _exp(self.min_value), _exp(self.max_value)


class _Around(Distribution):
    mu: Number
    sigma: Positive

    def __init__(self, mu: Any = None, sigma: Any = None, **more: Any) -> None:
        super().__init__(mu=mu, sigma=sigma, **more)

    def ends(self) -> list[tuple[str, float]]:
        """The median of the draws; there are no bounds."""
        return [("mu", _exp(self.mu) if "log" in self.kind else self.mu)]


class Normal(_Around):
    """Normally distributed."""

    type: Literal["normal"] = "normal"


class LogNormal(_Around):
    """Its natural logarithm is normally distributed."""

    type: Literal["lognormal"] = "lognormal"


class _StepsAround(_Around):
    q: Positive

    def __init__(self, mu: Any = None, sigma: Any = None, q: Any = None, **more: Any) -> None:
        super().__init__(mu, sigma, q=q, **more)


class QNormal(_StepsAround):
    """As `Normal`, rounded to multiples of q."""

    type: Literal["qnormal"] = "qnormal"


class QLogNormal(_StepsAround):
    """As `LogNormal`, rounded to multiples of q."""

    type: Literal["qlognormal"] = "qlognormal"


def _exp(x: float) -> float:
    try:
        return math.exp(x)
    except OverflowError:
        return math.inf


_ALL = (Choice, Uniform, LogUniform, QUniform, QLogUniform, Normal, LogNormal, QNormal, QLogNormal, Randint)
DISTRIBUTIONS: Mapping[str, type[Distribution]] = {c.model_fields["type"].default: c for c in _ALL}
"""The distributions by the word for them in YAML."""

_SHORT = re.compile(rf"\s*({'|'.join(DISTRIBUTIONS)})\s*\(.*\)\s*", re.DOTALL)


def distribution(value: Any) -> Any:
    """A distribution from its YAML form or its short form; any other value is itself.

    Args:
        value: `{"type": "uniform", "min_value": 0.1, "max_value": 0.2}`, `"uniform(0.1, 0.2)"`, or a literal.

    Raises:
        JobError: a distribution that can't be drawn from.
    """
    if isinstance(value, str) and _SHORT.fullmatch(value):
        return _from_short(value.strip())
    if not isinstance(value, Mapping):
        return value
    kind = str(value.get("type")).rsplit(".", 1)[-1].lower()
    if kind not in DISTRIBUTIONS:
        given = f"type={show(value['type'])} is not legal" if "type" in value else "type is missing"
        raise JobError(f"{given}; choose one of {', '.join(DISTRIBUTIONS)}")
    return DISTRIBUTIONS[kind](**{str(k): v for k, v in value.items() if k != "type"})


def _from_short(text: str) -> Distribution:
    """`choice('a', 'b (c, d)')` and the like, read as Python reads literals."""
    try:
        call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.keywords:
            raise ValueError("not one call")
        # a bare word is itself: choice(sgd, adam)
        found = [a.id if isinstance(a, ast.Name) else ast.literal_eval(a) for a in call.args]
        kind = DISTRIBUTIONS[call.func.id]
        return Choice(found) if kind is Choice else kind(*found)
    except JobError:
        raise
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError) as error:
        raise JobError(
            f"type={show(text)} can't be read; write it as in uniform(0.001, 0.01) or choice('a', 'b')"
        ) from error
