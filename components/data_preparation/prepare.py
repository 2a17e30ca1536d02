"""From annotations of any format to one checked, split data set."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from maskline.annotations import Finding
from maskline.artifacts import DATASET, FINDINGS
from maskline.dataset import PreparedDataset
from maskline.errors import DataError, JobError
from maskline.sources import clear, fetch_pictures, read_source

from .check import CheckedPicture, Verify, check
from .duplicates import copies
from .groups import shared_groups, units
from .place import place_pictures
from .split import split
from .write import count_kinds, write, write_findings

DEFAULT_VALIDATION_SIZE = 0.2
DEFAULT_SEED = 0
DEFAULT_MAX_BAD_FRACTION = 0.05
STAGING = ".staging"
"""Folder in the prepared data set for what is fetched and unpacked, while it is made."""
_SHOWN = 5


class Source(NamedTuple):
    """Where annotations are, and of what kind (`maskline.annotations.KINDS`)."""

    path: str
    kind: str = "uri_folder"


def prepare(
    training: Source,
    validation: Source | None = None,
    test: Source | None = None,
    *,
    out: str | Path,
    label_column: str = "label",
    validation_size: float | None = None,
    test_size: float | None = None,
    seed: int | None = None,
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
    verify: Verify = "scaled",
    materialise: bool | None = None,
    group_column: str | None = None,
    properties: Mapping[str, str] | None = None,
) -> PreparedDataset:
    """Read, check and split annotated pictures, and write the prepared data set.

    Pictures and objects are written in an order of their content, so that the same data give the same files
    and the same digest wherever they lie and however their records are ordered. `findings.jsonl` is written
    even if the data are refused.

    Args:
        training: annotations to learn from.
        validation: held-out annotations; without them a part of `training` is held out.
        test: annotations for the final numbers.
        out: folder to write to; made if need be.
        label_column: the key that holds the objects of an Azure record.
        validation_size: fraction of the training pictures to hold out when `validation` is None, above 0 and
            below 1; None is 0.2.
        test_size: the same for `test`; None holds none out.
        seed: of the split; None is 0.
        max_bad_fraction: largest share of records, pictures and objects together, that may be refused in each
            part, 0 to 1.
        verify: how far pictures are looked at, see `check`.
        materialise: whether pictures are copied into the prepared data set. None copies those only that had
            to be fetched or unpacked; False refuses them.
        group_column: pictures with the same value in it stay together; see `read_annotations`.
        properties: the job's, which say where datastores lie.

    Raises:
        DataError: data can't be read, too many records are bad, a part has no object, or there is too
            little to split; every part's problem, one a line.
        StorageError: a store can't be reached.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for name in (FINDINGS, DATASET):
        (folder / name).unlink(missing_ok=True)
    sizes = _sizes(validation, validation_size, test, test_size)
    sources = {"train": training, "validation": validation, "test": test}
    clear(folder / STAGING)  # what an earlier attempt left
    splits: dict[str, list[CheckedPicture]] = {}
    findings: list[Finding] = []
    problems: list[str] = []
    try:
        for name, source in sources.items():
            if source is None:
                continue
            try:
                splits[name], found, reason = read_part(
                    source, label_column, folder, name, max_bad_fraction, verify, properties, group_column
                )
                findings += found
                problems += [reason] if reason else []
            except (DataError, JobError) as error:
                problems.append(str(error))
        if problems:
            raise DataError("\n".join(problems))
        drawn = DEFAULT_SEED if seed is None else seed
        splits = divide(splits, sizes, drawn)
        across = compare(splits)
        write_findings(folder, across, "all")
        splits = place_pictures(splits, folder, folder.absolute() / STAGING, materialise)
        return write(folder, splits, drawn if sizes else None, findings + across)
    finally:
        clear(folder / STAGING)


def _sizes(
    validation: Source | None, validation_size: float | None, test: Source | None, test_size: float | None
) -> dict[str, float]:
    """The fractions to hold out, by part; a part that is given needs none.

    Raises:
        DataError: a fraction is outside its range, or nothing is left to train on.
    """
    if validation_size is None:
        validation_size = DEFAULT_VALIDATION_SIZE
    sizes = {} if test or test_size is None else {"test": test_size}
    if not validation:
        sizes["validation"] = validation_size
    written = " + ".join(f"{name}_data_size={size:g}" for name, size in sizes.items())
    if any(not 0 < size < 1 for size in sizes.values()) or sum(sizes.values()) >= 1:
        raise DataError(f"{written} must be above 0 each and below 1 together; 0.2 is usual")
    return sizes


def read_part(
    source: Source,
    label_column: str,
    folder: Path,
    part: str,
    max_bad_fraction: float,
    verify: Verify,
    properties: Mapping[str, str] | None = None,
    group_column: str | None = None,
) -> tuple[list[CheckedPicture], list[Finding], str]:
    """Read and check one part of the data, and list its findings in the folder.

    What must be fetched or unpacked is left in the folder, below STAGING.

    Returns:
        The sound pictures, the findings, and why they can't be trained on; empty if they can.

    Raises:
        DataError: the annotations can't be read at all.
        JobError: they are in a datastore that `properties` doesn't have.
        StorageError: a store can't be reached.
    """
    staging = folder.absolute() / STAGING / part
    reading = read_source(source.path, source.kind, label_column, staging, properties, group_column)
    fetch_pictures(reading)
    pictures, findings = check(reading.annotations, verify)
    findings = reading.show_all(findings)
    if reading.shown:
        pictures = [replace(p, where=reading.show(p.where)) for p in pictures]
    write_findings(folder, findings, part)
    reason = _too_many(source.path, reading.annotations.records, findings, max_bad_fraction, folder)
    if not reason and not any(p.classes for p in pictures):
        reason = f"{source.path} has no object that can be used, in {len(pictures)} sound pictures" + (
            f"; {_worst(findings)}" if any(f.lost for f in findings) else "; label some objects"
        )
    return pictures, findings, reason


def _too_many(path: str, records: int, findings: Sequence[Finding], limit: float, folder: Path) -> str:
    lost = sum(f.lost for f in findings)
    if lost <= limit * records:
        return ""
    return (
        f"{path}: {lost} of {records} records can't be used ({lost / records:.1%}, more than "
        f"max_bad_fraction={limit:g}); {_worst(findings)}; all are in {folder / FINDINGS}; "
        f"look at them with `maskline inspect {path}` and repair them, or allow more"
    )


def _worst(findings: Sequence[Finding]) -> str:
    """The findings that cost most: counts by kind, and the first of them in full."""
    costly = sorted((f for f in findings if f.lost), key=lambda f: -f.lost)
    counts = ", ".join(f"{number} {kind}" for kind, number in count_kinds(costly).items())
    return f"{counts}: " + "; ".join(str(f) for f in costly[:_SHOWN])


def divide(
    splits: dict[str, list[CheckedPicture]], sizes: dict[str, float], seed: int
) -> dict[str, list[CheckedPicture]]:
    """Hold pictures out for the parts that weren't given, and put the parts in order.

    Raises:
        DataError: a part would have no object.
    """
    splits = dict(splits)
    left = 1.0  # the fractions are of all the training pictures, and a second one takes more of what is left
    for name, size in sizes.items():
        splits["train"], splits[name] = _hold_out(splits["train"], size / left, seed)
        left -= size
        if not any(p.classes for p in splits["train"]) or not any(p.classes for p in splits[name]):
            raise DataError(
                f"the training data have too few pictures with objects to hold any out for {name}; "
                f"add pictures or give {name}_data"
            )
    return {name: splits[name] for name in ("train", "validation", "test") if name in splits}


def _hold_out(
    pictures: list[CheckedPicture], fraction: float, seed: int
) -> tuple[list[CheckedPicture], list[CheckedPicture]]:
    """Split pictures; copies of one picture stay together, and so do groups."""
    together, keys = units(pictures)
    held = split(together, fraction, seed)
    staying = [p for p in pictures if keys[p.sha256] not in held]
    return staying, [p for p in pictures if keys[p.sha256] in held]


def compare(splits: dict[str, list[CheckedPicture]]) -> list[Finding]:
    """What shows only between parts: pictures in two of them, and classes that training lacks."""
    findings: list[Finding] = []
    known = {name for p in splits["train"] for name in p.classes}
    for one, other in combinations(splits, 2):
        findings += _shared(one, splits[one], other, splits[other])
        findings += shared_groups(one, splits[one], other, splits[other])
    for part in [name for name in splits if name != "train"]:
        for name in sorted({c for p in splits[part] for c in p.classes} - known):
            what = f"class {name!r} is in {part} data and not in training data, so it can't be learnt"
            findings.append(Finding("class_not_in_training", part, what, "kept"))
    return findings


def _shared(
    one: str, known: list[CheckedPicture], other: str, new: list[CheckedPicture]
) -> Iterator[Finding]:
    """Pictures of `other` that are in `one` too, byte by byte or all but the same."""
    twins = {p.sha256: p for p in known}
    for picture in new:
        if twin := twins.get(picture.sha256):
            what = f"the same picture as {twin.where}, which is in {one}"
            yield Finding("shared_picture", picture.where, what, f"kept in {other}")
    seen, old = ([(p, p.look) for p in part if p.look is not None] for part in (new, known))
    for index, nearest in copies([look for _, look in seen], [look for _, look in old]):
        picture, twin = seen[index][0], old[nearest][0]
        if picture.sha256 not in twins:
            what = f"all but the same picture as {twin.where}, which is in {one}"
            yield Finding("near_duplicate", picture.where, what, f"kept in {other}")
