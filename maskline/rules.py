"""What a field allows, in words, and pydantic's errors as lines that say value, rule and remedy.

Every line begins with the name of a field, so that whoever knows where the field stands can put the place
before it: `max_trials=0 …` becomes `limits.max_trials=0 …`.
"""

import difflib
import math
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from .errors import JobError, KeywordError

Kind = Literal["int", "float", "bool", "text", "word", "other"]

_WORDS: Mapping[Kind, str] = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "text": "text; put it in quotes",
}


@dataclass(frozen=True)
class Rule:
    """What a field allows.

    Attributes:
        kind: of value.
        low, high: the ends of its range; infinite where there is none.
        low_open, high_open: whether an end is itself outside the range.
        words: the legal words of a field of kind `word`.
    """

    kind: Kind
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    words: tuple[str, ...] = ()

    @classmethod
    def of(cls, field: FieldInfo) -> "Rule":
        """The rule of a field of a pydantic model; `X | None` has the rule of X."""
        found: dict[str, Any] = {}
        plain = _strip(field.annotation, found, field.metadata)
        if isinstance(plain, type) and issubclass(plain, Enum):
            return cls("word", words=tuple(str(member.value) for member in plain))
        if get_origin(plain) is Literal:
            return cls("word", words=tuple(map(str, get_args(plain))))
        kinds: dict[Any, Kind] = {int: "int", float: "float", bool: "bool", str: "text"}
        return cls(kinds.get(plain, "other"), **found)

    def allows(self, number: float) -> bool:
        """Whether a number is inside the range; NaN never is."""
        above = number > self.low if self.low_open else number >= self.low
        below = number < self.high if self.high_open else number <= self.high
        return above and below

    def nearest(self, number: float) -> float:
        """The number itself, or the nearest end of the range; just inside it where the end is open."""
        if self.low_open and number <= self.low:
            return math.nextafter(self.low, math.inf)
        if self.high_open and number >= self.high:
            return math.nextafter(self.high, -math.inf)
        return min(max(number, self.low), self.high)

    @property
    def noun(self) -> str:
        """What a value must be, e.g. `a whole number of at least 1`."""
        if self.kind == "word":
            return f"{'one of ' if len(self.words) > 1 else ''}{', '.join(self.words)}"
        noun = _WORDS.get(self.kind, "a value")
        if self.low == -math.inf:
            return noun
        if self.high == math.inf:
            return f"{noun} {'above' if self.low_open else 'of at least'} {self.low:g}"
        return f"{noun} in {self.interval}"

    @property
    def interval(self) -> str:
        """The range in mathematical notation, e.g. `(0, 1]`."""
        high = f"{self.high:.15g}"
        return f"{'(' if self.low_open else '['}{self.low:g}, {high}{')' if self.high_open else ']'}"

    def outside(self, name: str, value: str) -> str:
        """The line for a number outside the range."""
        if self.high == math.inf:
            side = "not above" if self.low_open else "below"
            return f"{name}={value} is {side} {self.low:g}; give {self.noun}"
        noun = _WORDS.get(self.kind, "a value")
        return f"{name}={value} is outside {self.interval}; give {noun} in that range"


def _strip(annotation: Any, found: dict[str, Any], metadata: Iterable[Any]) -> Any:
    """The type without `Annotated` and `| None`; what the metadata say of its range goes into `found`."""
    for item in metadata:
        if isinstance(item, FieldInfo):
            _strip(None, found, item.metadata)
        for end, side in (("ge", "low"), ("gt", "low"), ("le", "high"), ("lt", "high")):
            if (bound := getattr(item, end, None)) is not None:
                found[side] = bound
                found[f"{side}_open"] = end in ("gt", "lt")
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return _strip(inner, found, more)
    if get_origin(annotation) in (Union, types.UnionType):
        some = [arg for arg in get_args(annotation) if arg is not types.NoneType]
        if len(some) == 1:
            return _strip(some[0], found, ())
    return annotation


class Part(BaseModel):
    """A part of a job: its errors are JobErrors, None means not set, and what was set is remembered."""

    model_config = ConfigDict(
        extra="forbid",
        use_attribute_docstrings=True,
        validate_assignment=True,
        protected_namespaces=(),
        allow_inf_nan=False,
        defer_build=False,  # importing stays fast; the first use builds
    )
    hints: ClassVar[Mapping[str, str]] = {}
    """For names that Azure's other jobs know and this part doesn't: what to do instead."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**{k: v for k, v in values.items() if v is not None or not self._knows(k)})
        except ValidationError as error:
            raise job_error(error, type(self)) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and not self._knows(name):
            raise AttributeError(unknown(name, type(self), name))
        try:
            super().__setattr__(name, value)
        except ValidationError as error:
            raise job_error(error, type(self)) from None

    @classmethod
    def _knows(cls, name: str) -> bool:
        return name in cls.model_fields

    def plain(self) -> dict[str, Any]:
        """What was set, as plain data; `type` always."""
        kind = {"type": self.type} if "type" in type(self).model_fields else {}  # type: ignore[attr-defined]
        found = self.model_dump(mode="json", exclude_unset=True, exclude_none=True)
        return {**{k: str(v) for k, v in kind.items()}, **found}


def job_error(error: ValidationError, model: type[BaseModel]) -> JobError:
    """Pydantic's error as ours, with every problem; a KeywordError if a name is unknown."""
    causes = [(e["type"], e.get("ctx", {}).get("error")) for e in error.errors(include_url=False)]
    unknown_name = any(kind == "extra_forbidden" or isinstance(c, KeywordError) for kind, c in causes)
    return (KeywordError if unknown_name else JobError)(lines(error, model))


def lines(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line a problem, each naming the field, the value, the rule and the remedy."""
    found = [line for e in error.errors(include_url=False) for line in _translate(e, model)]
    return list(dict.fromkeys(found))


def join(place: str, name: str) -> str:
    """`limits` and `max_trials` to `limits.max_trials`; `values` and `[2]` to `values[2]`."""
    return f"{place}{'' if not place or name.startswith('[') else '.'}{name}"


def show(value: Any) -> str:
    """A value for an error line: as in YAML, and never longer than 60 characters."""
    if isinstance(value, Enum):
        value = value.value
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest_name(name: str, legal: Iterable[str]) -> str:
    """A remedy for a wrong name: `did you mean …?`, or the legal names if they are few."""
    legal, name = list(legal), str(name).lower()
    near = difflib.get_close_matches(name, legal, 1, cutoff=0.6)
    if near := near or [word for word in legal if len(name) > 3 and name in word]:
        return f"did you mean {near[0]}?"
    return f"legal are {', '.join(legal)}" if len(legal) <= 12 else "remove it: no legal name is like it"


def unknown(name: str, model: type[BaseModel] | None, place: str) -> str:
    """The line for a name that a model doesn't have."""
    if hint := getattr(model, "hints", {}).get(name):
        return f"{place} {hint}"
    legal = [] if model is None else [field.alias or key for key, field in model.model_fields.items()]
    return f"{place} is not a known name; {nearest_name(name, legal)}"


def _translate(e: ErrorDetails, model: type[BaseModel]) -> Iterator[str]:
    *above, last = e["loc"] or ("",)
    place = ""
    for step in above:
        place = join(place, f"[{step}]" if isinstance(step, int) else str(step))
    name = join(place, f"[{last}]" if isinstance(last, int) else str(last))
    owner, field = _find(model, e["loc"])
    cause = e.get("ctx", {}).get("error")
    if isinstance(cause, JobError):
        yield from (join(name, problem) for problem in cause.problems)
    elif cause is not None:
        text = str(cause)
        named = isinstance(last, str) and text.startswith(last)
        yield join(place, text) if named else f"{name}={show(e['input'])} {text}"
    elif e["type"] == "extra_forbidden":
        yield unknown(str(last), owner, name)
    elif e["type"] == "missing":
        noun = Rule.of(field).noun if field else "it"
        yield f"{name} is missing; give {noun.split(';')[0]}"
    else:
        yield _sentence(e, name, field)


def _sentence(e: ErrorDetails, name: str, field: FieldInfo | None) -> str:
    value, rule, kind = show(e["input"]), Rule.of(field) if field else Rule("other"), e["type"]
    if kind.startswith(("greater_than", "less_than")) and rule.kind in ("int", "float"):
        return rule.outside(name, value)
    if kind in ("frozen_instance", "frozen_field"):
        return f"{name} can't be changed; make a new one instead"
    if kind in ("enum", "literal_error") and rule.kind == "word":
        return f"{name}={value} is not legal; {_words(e['input'], rule)}"
    if kind.startswith(("int_", "float_", "bool_", "string_type", "finite_")) and rule.kind in _WORDS:
        return f"{name}={value} is not {_WORDS[rule.kind].split(';')[0]}; give {rule.noun}"
    if kind in ("too_short", "string_too_short"):
        return f"{name}={value} is empty; give at least one {'letter' if 'string' in kind else 'value'}"
    if kind in ("dict_type", "list_type", "tuple_type"):
        return f"{name}={value} is not a {'mapping' if kind == 'dict_type' else 'list'}; give one"
    if kind == "model_type":
        part = _model_of(field.annotation if field else None)
        return f"{name}={value} is not legal; give {_article(part)}, or a mapping with its keys"
    return f"{name}={value} is not legal: {e['msg'][:1].lower()}{e['msg'][1:]}"


def _words(value: Any, rule: Rule) -> str:
    near = difflib.get_close_matches(str(value).lower(), rule.words, 1)
    return f"choose {rule.noun}{f' (did you mean {near[0]}?)' if near else ''}"


def _article(model: type[BaseModel] | None) -> str:
    name = model.__name__ if model else "mapping"
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside an annotation, also of an optional one or of a list of them."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for arg in get_args(annotation) if (m := _model_of(arg))), None)


def _find(
    model: type[BaseModel] | None, loc: tuple[int | str, ...]
) -> tuple[type[BaseModel] | None, FieldInfo | None]:
    """The model that owns the field at a place, and the field."""
    owner, field = model, None
    for step in loc:
        if field is not None:
            model = _model_of(field.annotation)
        if isinstance(step, str) and model is not None:
            owner = model
            by_alias = {f.alias or key: f for key, f in model.model_fields.items()}
            field = by_alias.get(step) or model.model_fields.get(step)
    return owner, field
