from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.components.data_preparation.split import Unit, split
from maskline.errors import DataError

CLASSES = st.frozensets(st.sampled_from("abcdef"), max_size=4)
UNITS = st.lists(CLASSES, min_size=2, max_size=60).map(
    lambda found: [Unit(f"{i:03d}", classes) for i, classes in enumerate(found)]
)
FRACTIONS = st.floats(0.05, 0.95)


def count(units):
    return Counter(label for unit in units for label in unit.classes)


@given(UNITS, FRACTIONS, st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_the_order_of_units_does_not_matter(units, fraction, seed, random):
    shuffled = list(units)
    random.shuffle(shuffled)
    assert split(units, fraction, seed) == split(shuffled, fraction, seed)


@given(UNITS, FRACTIONS, st.integers(0, 2**32 - 1))
def test_neither_part_is_empty_and_the_size_is_kept(units, fraction, seed):
    held = split(units, fraction, seed)
    assert held < {u.key for u in units}
    assert 1 <= len(held) <= max(1, round(fraction * len(units)))


@given(UNITS, FRACTIONS, st.integers(0, 2**32 - 1))
def test_objects_are_in_both_parts(units, fraction, seed):
    held = split(units, fraction, seed)
    labelled = [u for u in units if u.classes]
    if len(labelled) > 1:
        assert any(u.key in held for u in labelled)


@given(UNITS, FRACTIONS, st.integers(0, 2**32 - 1))
def test_training_has_every_class(units, fraction, seed):
    held = split(units, fraction, seed)
    lost = set(count(units)) - set(count(u for u in units if u.key not in held))
    # Only where every picture has a class of its own, one of them must go.
    assert not lost or len([u for u in units if u.key in held and u.classes]) == 1


def test_rare_classes_are_in_both_parts():
    units = [Unit(f"{i:03d}", {"common"}) for i in range(100)]
    units += [Unit("rare1", {"common", "rare"}), Unit("rare2", {"rare"}), Unit("single", {"single"})]
    for seed in range(20):
        held = split(units, 0.2, seed)
        assert len(held) == 21
        found = count(u for u in units if u.key in held)
        assert (found["rare"], found["single"]) == (1, 0)


def test_shares_of_classes_are_those_of_the_whole():
    units = [
        Unit(f"{i:03d}", {label for n, label in ((2, "a"), (3, "b"), (10, "c")) if i % n == 0})
        for i in range(300)
    ]
    whole = count(units)
    for seed in range(5):
        held = split(units, 0.2, seed)
        assert len(held) == 60
        found = count(u for u in units if u.key in held)
        for label, number in whole.items():
            assert abs(found[label] - 0.2 * number) <= 2
        background = sum(not u.classes for u in units)
        assert abs(sum(not u.classes for u in units if u.key in held) - 0.2 * background) <= 2


def test_the_split_is_the_same_on_any_machine():
    units = [Unit(f"{i}", {"ab"[i % 2]}) for i in range(10)]
    assert sorted(split(units, 0.3, 7)) == ["3", "4", "8"]
    assert len({split(units, 0.3, seed) for seed in range(20)}) > 10


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2, float("nan")])
def test_fractions_that_are_none(fraction):
    with pytest.raises(DataError, match="above 0 and below 1"):
        split([Unit("a", {"x"}), Unit("b", {"x"})], fraction, 0)


def test_one_picture_cannot_be_split():
    with pytest.raises(DataError, match="1 picture can't be split .* give validation_data"):
        split([Unit("a", {"x"})], 0.2, 0)
