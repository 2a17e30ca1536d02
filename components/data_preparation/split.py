"""A fixed, seeded, stratified split of pictures into training and validation."""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Sequence, Set
from dataclasses import dataclass

from maskline.errors import DataError


@dataclass(frozen=True)
class Unit:
    """What stays together in a split: a picture, or all copies of one.

    Attributes:
        key: identifies the content; the order of units is the order of their keys.
        classes: names of the classes on it; none on a background picture.
    """

    key: str
    classes: Set[str]


def split(units: Sequence[Unit], fraction: float, seed: int) -> frozenset[str]:
    """Choose the units to hold out.

    Iterative stratification by Sechidis et al., "On the stratification of multi-label data" (2011), for two
    parts: the class with the fewest pictures left is dealt out first. Background pictures are dealt out as a
    class of their own. A class with two pictures or more is in both parts if the size allows, and no
    class is held out entirely as long as another choice is left.

    Args:
        units: with different keys; their order doesn't matter.
        fraction: of the units to hold out, above 0 and below 1; at least one, and never all.
        seed: the same units and seed give the same choice on any machine.

    Returns:
        The keys of the units held out.

    Raises:
        DataError: fewer than two units, or `fraction` outside its range.
    """
    if not 0 < fraction < 1:
        raise DataError(f"fraction={fraction:g} to hold out must be above 0 and below 1")
    if len(units) < 2:
        raise DataError(
            f"{len(units)} picture can't be split into training and validation; "
            "add pictures or give validation_data"
        )
    ordered = sorted(units, key=lambda unit: unit.key)
    random.Random(seed).shuffle(ordered)  # noqa: S311  no secret is drawn
    return frozenset(_deal(ordered, min(max(round(fraction * len(units)), 1), len(units) - 1), fraction))


def _deal(units: list[Unit], wanted: int, fraction: float) -> set[str]:
    """Hold out `wanted` units, the rarest class first."""
    labels = {unit.key: unit.classes or {""} for unit in units}  # "" is background, no class's name
    queues: dict[str, deque[str]] = defaultdict(deque)
    for key, found in labels.items():
        for label in found:
            queues[label].append(key)
    left = Counter({label: len(queue) for label, queue in queues.items()})
    need = {label: _need(label, number, fraction) for label, number in left.items()}
    staying, waiting, held = Counter(left), set(labels), set[str]()
    while waiting and len(held) < wanted:
        rarest = min((c for c in left if left[c]), key=lambda c: (left[c], c))
        key = queues[rarest].popleft()
        if key not in waiting:
            continue
        waiting.remove(key)
        left.subtract(labels[key])
        if need[rarest] > 0 and _spares(labels[key], staying):
            held.add(key)
            staying.subtract(labels[key])
            for label in labels[key]:
                need[label] -= 1
    _fill_up(units, held, wanted, staying)
    return held


def _need(label: str, number: int, fraction: float) -> int:
    """How many units of a class to hold out: one at least of two, whatever the fraction."""
    share = int(fraction * number + 0.5)
    return max(share, 1) if label and number > 1 else share


def _fill_up(units: list[Unit], held: set[str], wanted: int, staying: Counter[str]) -> None:
    """Add units up to the wanted number where no class loses its last one; one with a class in any case."""
    for unit in units:
        if len(held) < wanted and unit.key not in held and _spares(unit.classes, staying):
            held.add(unit.key)
            staying.subtract(unit.classes)
    labelled = [unit for unit in units if unit.classes]
    if len(labelled) > 1 and not any(unit.key in held for unit in labelled):
        if len(held) == wanted:
            held.remove(min(held))
        held.add(min(labelled, key=lambda unit: len(unit.classes)).key)


def _spares(labels: Set[str], staying: Counter[str]) -> bool:
    """Whether every class of these has a picture more in training."""
    return all(staying[label] > 1 for label in labels if label)
