"""Cron lines as Kubeflow Pipelines reads them: six fields, seconds first; with five, second 0. In UTC."""

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from maskline.errors import JobError

_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("second", 0, 59, {}),
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of the month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 6, _DAYS),
)
_NAMED = {
    "@hourly": "0 0 * * * *",
    "@daily": "0 0 0 * * *",
    "@weekly": "0 0 0 * * 0",
    "@monthly": "0 0 0 1 * *",
    "@yearly": "0 0 0 1 1 *",
}
_MOST_DAYS = 366 * 8
"""Days that are looked through for the next time: 29 February can be eight years away."""


@dataclass(frozen=True)
class Cron:
    """A schedule.

    Attributes:
        text: six fields, as KFP takes them.
        fields: legal values of second, minute, hour, day, month, weekday (0 is Sunday).
        either: whether a day counts when it matches either of day and weekday, since both are given.
    """

    text: str
    fields: tuple[frozenset[int], ...]
    either: bool

    @classmethod
    def read(cls, text: str) -> "Cron":
        """Read and check a cron line.

        Raises:
            JobError: it is wrong, or never comes true; names the field.
        """
        plain = _NAMED.get(text.strip().lower(), text.strip())
        parts = plain.split()
        if len(parts) == 5:
            parts = ["0", *parts]
        if len(parts) != 6:
            raise JobError(f"cron={text!r} has {len(parts)} fields; give five (minute to weekday), or six")
        fields = tuple(_field(part, text, *described) for part, described in zip(parts, _FIELDS, strict=True))
        either = parts[3][0] not in "*?" and parts[5][0] not in "*?"
        found = cls(" ".join(parts), fields, either)
        if found.next() is None:
            raise JobError(f"cron={text!r} never comes true: no such day in any year; correct day and month")
        return found

    def next(self, after: datetime | None = None) -> datetime | None:
        """The next time of the schedule, in UTC; None if there is none within eight years.

        Args:
            after: a time with a zone; now if left out.
        """
        start = (after or datetime.now(UTC)).astimezone(UTC).replace(microsecond=0) + timedelta(seconds=1)
        seconds, minutes, hours, *_ = (sorted(field) for field in self.fields)
        for ahead in range(_MOST_DAYS):
            day = (start + timedelta(days=ahead)).replace(hour=0, minute=0, second=0)
            if not self._on(day):
                continue
            for hour in hours:
                for minute in minutes:
                    for second in seconds:
                        found = day.replace(hour=hour, minute=minute, second=second)
                        if found >= start:
                            return found
        return None

    def _on(self, day: datetime) -> bool:
        *_, days, months, weekdays = self.fields
        of_month, of_week = day.day in days, day.isoweekday() % 7 in weekdays
        return day.month in months and (of_month or of_week if self.either else of_month and of_week)


def _field(part: str, text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for item in part.split(","):
        match = re.fullmatch(r"(?:([*?])|(\w+)(?:-(\w+))?)(?:/(\d+))?", item)
        if match is None:
            raise JobError(f"cron={text!r}: {item!r} is no {name}; give a number, a-b, a list, *, or */n")
        every, first, last, step = match.groups()
        if every:
            begin, end = low, high
        else:
            begin = _number(first, text, name, low, high, names)
            end = _number(last, text, name, low, high, names) if last else (high if step else begin)
        if step is not None and int(step) == 0 or end < begin:
            raise JobError(f"cron={text!r}: {item!r} is no {name}; ranges go upwards in steps of at least 1")
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(found)


def _number(word: str, text: str, name: str, low: int, high: int, names: dict[str, int]) -> int:
    number = names.get(word.lower(), int(word) if word.isdigit() else -1)
    if not low <= number <= high:
        raise JobError(f"cron={text!r}: {name} {word} is outside [{low}, {high}]; correct it")
    return number
