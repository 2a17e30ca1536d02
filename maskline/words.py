"""Enumerations that read any of Azure's spellings."""

import re
from enum import StrEnum
from typing import Any, Self, TypeVar

from pydantic import BeforeValidator

E = TypeVar("E", bound=StrEnum)


class Word(StrEnum):
    """An enumeration that reads its members in any of Azure's spellings.

    `warmup_cosine`, `WarmupCosine`, `WARMUP_COSINE` and `LearningRateScheduler.WARMUP_COSINE` are one.
    """

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str):
            return None
        wanted = re.sub(r"[^a-z0-9]", "", value.rsplit(".", 1)[-1].lower())
        return next((m for m in cls if m.value.replace("_", "") == wanted), None)


def word(kind: type[E]) -> BeforeValidator:
    """Reads any of Azure's spellings; what is no member stays, for pydantic to refuse."""

    def read(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            return value

    return BeforeValidator(read)
