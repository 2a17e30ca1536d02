"""Look at data without a job: what `prepare` would say of them, in numbers and as a page."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maskline.artifacts import DATA_NUMBERS, FINDINGS
from maskline.errors import DataError

from .check import Verify
from .describe import advice
from .prepare import (
    DEFAULT_MAX_BAD_FRACTION,
    DEFAULT_SEED,
    DEFAULT_VALIDATION_SIZE,
    Source,
    compare,
    divide,
    read_part,
)
from .report import write_report
from .write import write, write_findings

OUTPUTS = (".html", ".json", ".jsonl")


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        described: the numbers, see `describe.describe`.
        problems: why the data can't be trained on; empty if they can.
        advice: what to look into all the same.
    """

    described: dict[str, Any]
    problems: tuple[str, ...]
    advice: tuple[str, ...]


def inspect(
    source: Source,
    outputs: Sequence[Path] = (),
    *,
    label_column: str = "label",
    max_bad_fraction: float = DEFAULT_MAX_BAD_FRACTION,
    verify: Verify = "scaled",
    properties: Mapping[str, str] | None = None,
) -> Inspection:
    """Read and check annotations, hold out what `prepare` would by default, and report.

    Args:
        source: the annotations.
        outputs: files to write, by suffix: `.html` the page, `.json` the numbers, `.jsonl` all findings.
        label_column: the key that holds the objects of an Azure record.
        max_bad_fraction: largest share of the records that may be refused.
        verify: how far pictures are looked at, see `check`.
        properties: as a job's, which say where datastores lie.

    Raises:
        DataError: the annotations can't be read at all, or an output has another suffix.
        StorageError: a store can't be reached.
    """
    for output in outputs:
        if output.suffix.lower() not in OUTPUTS:
            raise DataError(f"--output {output} must end in one of {', '.join(OUTPUTS)}")
    with tempfile.TemporaryDirectory(prefix="maskline-inspect-") as place:
        folder = Path(place)
        pictures, findings, reason = read_part(
            source, label_column, folder, "all", max_bad_fraction, verify, properties
        )
        problems = [reason.split("; ")[0]] if reason else []  # what follows is in the findings
        splits = {"train": pictures}
        try:
            splits = divide(splits, {"validation": DEFAULT_VALIDATION_SIZE}, DEFAULT_SEED)
        except DataError as error:
            problems += [] if problems else [str(error)]
        across = compare(splits)
        write_findings(folder, across, "all")
        dataset = write(folder, splits, DEFAULT_SEED, [*findings, *across])
        page = folder / "page.html"
        described = write_report(dataset, page, source=source.path, problems=problems)
        for output in outputs:
            made = {".html": page, ".json": folder / DATA_NUMBERS, ".jsonl": folder / FINDINGS}
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(made[output.suffix.lower()], output)
    return Inspection(described, tuple(problems), tuple(advice(described)))
