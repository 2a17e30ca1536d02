"""A fixed, seeded, stratified split of pictures into training and validation."""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from maskline.errors import DataError

BACKGROUND = ""
"""Stands among the classes of a unit for pictures without objects; no class is called so."""


@dataclass(frozen=True)
class Unit:
    """What stays together in a split: a picture, all copies of one, or a group of pictures.

    Attributes:
        key: identifies the content; the order of units is the order of their keys.
        classes: names of the classes on it, or how many of its pictures show each of them and how many are
            BACKGROUND; none on a background picture.
        size: pictures.
    """

    key: str
    classes: Set[str] | Mapping[str, int]
    size: int = 1

    @property
    def counts(self) -> dict[str, int]:
        """Pictures by class; background pictures count as a class."""
        given = self.classes if isinstance(self.classes, Mapping) else dict.fromkeys(self.classes, 1)
        return dict(given) or {BACKGROUND: self.size}

    @property
    def labels(self) -> set[str]:
        """Its classes."""
        return {label for label in self.classes if label != BACKGROUND}


def split(units: Sequence[Unit], fraction: float, seed: int) -> frozenset[str]:
    """Choose the units to hold out.

    Iterative stratification by Sechidis et al., "On the stratification of multi-label data" (2011), for two
    parts: the class with the fewest pictures left is dealt out first. Background pictures are dealt out as a
    class of their own. A class with two units or more is in both parts if the size allows, and no class is
    held out entirely as long as another choice is left.

    Args:
        units: with different keys; their order doesn't matter.
        fraction: of the pictures to hold out, above 0 and below 1; at least one unit, and never all. A unit
            that doesn't fit is passed over, so the fraction is met to half of the largest one.
        seed: the same units and seed give the same choice on any machine.

    Returns:
        The keys of the units held out.

    Raises:
        DataError: fewer than two units, or `fraction` outside its range.
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction={fraction:g} to hold out must be above 0 and below 1")
    if len(units) < 2:
        what = "picture" if sum(unit.size for unit in units) < 2 else "group of pictures"
        raise DataError(
            f"{len(units)} {what} can't be split into training and validation; "
            "add pictures or give validation_data"
        )
    ordered = sorted(units, key=lambda unit: unit.key)
    random.Random(seed).shuffle(ordered)  # noqa: S311  no secret is drawn
    total = sum(unit.size for unit in units)
    return frozenset(_Deal(ordered, min(max(round(fraction * total), 1), total - 1), fraction).deal())


class _Deal:
    """Units on their way to one of two parts.

    Args:
        units: in the order in which they are looked at.
        wanted: pictures to hold out.
        fraction: of each class to hold out.
    """

    def __init__(self, units: list[Unit], wanted: int, fraction: float) -> None:
        self.units, self.wanted, self.fraction = units, wanted, fraction
        self.counts = {unit.key: unit.counts for unit in units}
        self.sizes = {unit.key: unit.size for unit in units}
        self.queues: dict[str, deque[str]] = defaultdict(deque)
        self.left = Counter[str]()
        for key, found in self.counts.items():
            self.left.update(found)
            for label in found:
                self.queues[label].append(key)
        self.need = {label: self._need(label) for label in self.left}
        self.staying = Counter(self.left)
        self.held = set[str]()
        self.size = 0

    def deal(self) -> set[str]:
        """Hold out units, the rarest class first."""
        waiting, left = set(self.counts), Counter(self.left)
        while waiting and self.size < self.wanted:
            rarest = min((c for c in left if left[c]), key=lambda c: (left[c], c))
            key = self.queues[rarest].popleft()
            if key not in waiting:
                continue
            waiting.remove(key)
            left.subtract(self.counts[key])
            if self._serves(key, rarest) and self._spares(key):
                self._hold(key)
        self._fill_up()
        return self.held

    def _need(self, label: str) -> int:
        """How many pictures of a class to hold out: one at least of two, whatever the fraction."""
        share = int(self.fraction * self.left[label] + 0.5)
        return max(share, 1) if label != BACKGROUND and len(self.queues[label]) > 1 else share

    def _serves(self, key: str, label: str) -> bool:
        """Whether a unit brings a class nearer to its share than it would be without, or in at all."""
        first = self.staying[label] == self.left[label]
        return self.need[label] > 0 and (first or 2 * self.need[label] >= self.counts[key][label])

    def _spares(self, key: str) -> bool:
        """Whether a unit fits, and leaves something of each of its classes, and of all, for training."""
        return (
            2 * self.size + self.sizes[key] <= 2 * self.wanted
            and len(self.held) < len(self.units) - 1
            and all(self.staying[c] > number for c, number in self.counts[key].items() if c != BACKGROUND)
        )

    def _hold(self, key: str) -> None:
        self.held.add(key)
        self.size += self.sizes[key]
        self.staying.subtract(self.counts[key])
        for label, number in self.counts[key].items():
            self.need[label] -= number

    def _fill_up(self) -> None:
        """Add units up to the wanted number where no class loses its last one; and one with objects."""
        for unit in self.units:
            if unit.key not in self.held and self._spares(unit.key):
                self._hold(unit.key)
        labelled = [unit for unit in self.units if unit.labels]
        if len(labelled) > 1 and not any(unit.key in self.held for unit in labelled):
            if self.held and self.size >= self.wanted:
                self.held.remove(min(self.held))
            self.held.add(min(labelled, key=lambda unit: (unit.size, len(unit.labels))).key)
        if not self.held:
            self.held.add(min(self.units, key=lambda unit: unit.size).key)
