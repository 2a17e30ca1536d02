"""Groups of pictures stay together when data are split, and classes are in both parts even so."""

import json
import shutil
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maskline.components.data_preparation.check import CheckedObject, CheckedPicture
from maskline.components.data_preparation.convert import convert
from maskline.components.data_preparation.groups import units
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.data_preparation.split import Unit, split
from maskline.errors import DataError
from maskline.sample_data import write_sample_data

SEEDS = st.integers(0, 2**32 - 1)
FRACTIONS = st.floats(0.05, 0.95)


def picture(number, classes="", groups=()):
    objects = tuple(CheckedObject(name, False, None) for name in classes)
    return CheckedPicture(f"/{number}", f"line {number}", 8, 8, f"{number:04d}", objects, None, tuple(groups))


def unit(number, size, classes):
    """A unit of so many pictures; each class is on a part of them, and the rest is background."""
    counts = Counter({label: 1 + (ord(label) + number) % size for label in classes})
    counts[""] = size - max(counts.values(), default=0)
    return Unit(f"{number:03d}", +counts, size)


def grouped():
    """Two to thirty units of one to nine pictures."""
    shapes = st.tuples(st.integers(1, 9), st.sampled_from(["", "a", "b", "ab", "c", "cd", "d"]))
    made = st.lists(shapes, min_size=2, max_size=30)
    return made.map(lambda found: [unit(number, *shape) for number, shape in enumerate(found)])


@given(grouped(), FRACTIONS, SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_groups_does_not_matter(found, fraction, seed, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert split(found, fraction, seed) == split(shuffled, fraction, seed)


@given(grouped(), FRACTIONS, SEEDS)
def test_both_parts_have_groups_and_the_size_is_met_to_half_of_one(found, fraction, seed):
    held = split(found, fraction, seed)
    sizes = {unit.key: unit.size for unit in found}
    assert held
    assert held < set(sizes)
    size, wanted = sum(sizes[key] for key in held), max(round(fraction * sum(sizes.values())), 1)
    # One group is held out in any case, however large, and one with objects.
    assert size <= wanted + max(sizes.values()) / 2 or len(held) == 1 or size - max(sizes.values()) <= wanted


@given(grouped(), FRACTIONS, SEEDS)
def test_training_keeps_every_class_that_two_groups_have(found, fraction, seed):
    held = split(found, fraction, seed)
    staying = {label for unit in found if unit.key not in held for label in unit.labels}
    lost = {label for unit in found for label in unit.labels} - staying
    assert not lost or len([u for u in found if u.key in held and u.labels]) == 1


def test_shares_of_classes_are_met_with_groups_too():
    """60 groups of five pictures, of which each class is on a third; a rare class is in two groups."""
    found = [Unit(f"{i:03d}", {"abc"[i % 3]: 5}, 5) for i in range(60)]
    found += [Unit("100", {"rare": 5}, 5), Unit("101", {"rare": 5}, 5)]
    for seed in range(10):
        held = split(found, 0.2, seed)
        counts = Counter()
        for unit in found:
            if unit.key in held:
                counts.update(unit.counts)
        assert sum(counts.values()) == 60
        assert counts["rare"] == 5
        assert all(abs(counts[label] - 20) <= 5 for label in "abc")


def test_the_split_of_groups_is_the_same_on_any_machine():
    found = [Unit(f"{i}", {"ab"[i % 2]: 1 + i % 3, "": 1}, 2 + i % 3) for i in range(12)]
    assert sorted(split(found, 0.3, 7)) == ["5", "6", "8", "9"]
    assert len({split(found, 0.3, seed) for seed in range(20)}) > 10


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.9])
def test_two_groups_of_any_size_are_one_and_one(fraction):
    for sizes in ((1, 100), (100, 100), (3, 2)):
        found = [Unit(str(i), {"x": size}, size) for i, size in enumerate(sizes)]
        assert len(split(found, fraction, 0)) == 1


def test_one_group_cannot_be_split():
    with pytest.raises(DataError, match="1 group of pictures can't be split"):
        split([Unit("a", {"x": 5}, 5)], 0.2, 0)


# -- what makes a unit -------------------------------------------------------------------------------------


def test_chains_of_copies_and_groups_are_one_unit():
    pictures = [
        picture(5, "a", ["x"]),
        picture(3, "b", ["x", "y"]),
        picture(4, "", ["y"]),
        picture(4, "c", ["z"]),  # the same bytes as the one before
        picture(1, "a", ["z"]),
        picture(2, "a"),
        picture(6, "", ["w"]),
    ]
    found, keys = units(pictures)
    assert {unit.key: (dict(unit.counts), unit.size) for unit in found} == {
        "0001": ({"a": 2, "b": 1, "c": 1}, 4),
        "0002": ({"a": 1}, 1),
        "0006": ({"": 1}, 1),
    }
    assert keys == {
        "0005": "0001",
        "0003": "0001",
        "0004": "0001",
        "0001": "0001",
        "0002": "0002",
        "0006": "0006",
    }


@given(
    st.lists(st.tuples(st.integers(0, 20), st.lists(st.integers(0, 8), max_size=3)), min_size=1, max_size=30)
)
def test_units_are_the_connected_parts(found):
    pictures = [picture(number, "a", map(str, groups)) for number, groups in found]
    together, keys = units(pictures)
    assert sum(unit.size for unit in together) == len(keys)
    for one in pictures:
        for other in pictures:
            if set(one.groups) & set(other.groups):
                assert keys[one.sha256] == keys[other.sha256]
    # Not more is together than must be: the same by spreading the least key until nothing changes.
    least = {p.sha256: p.sha256 for p in pictures}
    for _ in range(len(pictures)):
        by_group = defaultdict(list)
        for p in pictures:
            for group in p.groups:
                by_group[group].append(least[p.sha256])
        for p in pictures:
            least[p.sha256] = min([least[p.sha256], *(k for g in p.groups for k in by_group[g])])
    assert keys == least


# -- from the columns of each format -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample_data(folder, pictures=30, size=64)
    return folder / "train"


def parts_of_groups(found, groups):
    """The parts in which each group is, by the digest of pictures."""
    parts = defaultdict(set)
    for name in found.splits:
        for image in found.coco(name)["images"]:
            parts[groups[image["sha256"]]].add(name)
    return parts


def write_groups(form, folder):
    """Give pictures groups of three by the way of a form; returns the column."""
    if form == "azure":
        file = folder / "annotations.jsonl"
        records = [json.loads(line) for line in file.read_text().splitlines()]
        records = [{**record, "site": number // 3} for number, record in enumerate(records)]
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return "site"
    if form == "coco":
        file = folder / "annotations.json"
        whole = json.loads(file.read_text())
        for number, image in enumerate(whole["images"]):
            image["patient"] = f"p{number // 3}"
        file.write_text(json.dumps(whole))
        return "patient"
    for number, image in enumerate(sorted((folder / "images").rglob("*.*"))):
        inside = f"g{number // 3}"
        for path in (image, folder / "labels" / image.relative_to(folder / "images").with_suffix(".txt")):
            if path.exists():
                (path.parent / inside).mkdir(exist_ok=True)
                shutil.move(path, path.parent / inside / path.name)
    return "folder"


@pytest.mark.parametrize("form", ["azure", "coco", "yolo"])
def test_groups_do_not_straddle(form, sample, tmp_path):
    import hashlib

    convert(str(sample), tmp_path / "data", form)
    column = write_groups(form, tmp_path / "data")
    pictures = sorted((tmp_path / "data").rglob("*.png"))
    if form == "yolo":
        names = {path: path.parent.name for path in pictures}
    elif form == "coco":
        whole = json.loads((tmp_path / "data" / "annotations.json").read_text())
        names = {tmp_path / "data" / "images" / i["file_name"]: i["patient"] for i in whole["images"]}
    else:
        lines = (tmp_path / "data" / "annotations.jsonl").read_text().splitlines()
        names = {tmp_path / "data" / r["image_url"]: r["site"] for r in map(json.loads, lines)}
    groups = {hashlib.sha256(path.read_bytes()).hexdigest(): name for path, name in names.items()}
    source = Source(str(tmp_path / "data"))
    alone = prepare(source, out=tmp_path / "alone", test_size=0.2)
    assert any(len(parts) > 1 for parts in parts_of_groups(alone, groups).values())
    found = prepare(source, out=tmp_path / "out", test_size=0.2, group_column=column)
    assert all(len(parts) == 1 for parts in parts_of_groups(found, groups).values())
    assert all(split["images"] % 3 == 0 for split in list(found.splits.values())[1:])
    assert {name: bool(split["images"]) for name, split in found.splits.items()} == {
        "train": True,
        "validation": True,
        "test": True,
    }
    assert found.digest == prepare(source, out=tmp_path / "b", test_size=0.2, group_column=column).digest
    assert found.digest != alone.digest


def test_pictures_without_a_group_are_named(sample, tmp_path, findings):
    convert(str(sample), tmp_path / "data", "azure")
    file = tmp_path / "data" / "annotations.jsonl"
    records = [json.loads(line) for line in file.read_text().splitlines()]
    for record, value in zip(records, ["a", "a", None, "", [1], {}], strict=False):
        record["site"] = value
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    prepare(Source(str(tmp_path / "data")), out=tmp_path / "out", group_column="site")
    noted = [line for line in findings(tmp_path / "out") if line["kind"] == "no_group"]
    assert len(noted) == len(records) - 2
    assert noted[0]["where"].endswith("annotations.jsonl:3")


@pytest.mark.parametrize(("form", "column"), [("azure", "nothing"), ("coco", "nothing"), ("yolo", "site")])
def test_a_column_that_nobody_has(form, column, sample, tmp_path):
    convert(str(sample), tmp_path / "data", form)
    with pytest.raises(DataError, match=f"no picture has group_column='{column}'; name a field"):
        prepare(Source(str(tmp_path / "data")), out=tmp_path / "out", group_column=column)


def test_groups_in_parts_that_were_given_are_reported(tmp_path, write_lines, findings):
    for part, names in (("train", "abcd"), ("validation", "ef")):
        write_lines(tmp_path / part, {f"{name}.png": ["x"] for name in names})
        file = tmp_path / part / "data.jsonl"
        records = [json.loads(line) for line in file.read_text().splitlines()]
        for record, site in zip(records, [1, 2, 3, 4] if part == "train" else [2, 2], strict=True):
            record["site"] = site
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
    train, validation = Source(str(tmp_path / "train")), Source(str(tmp_path / "validation"))
    prepare(train, validation, out=tmp_path / "out", group_column="site")
    (line,) = [line for line in findings(tmp_path / "out") if line["kind"] == "shared_group"]
    assert (line["part"], line["action"]) == ("all", "kept in validation")
    assert "its group '2' is in train too" in line["what"]
