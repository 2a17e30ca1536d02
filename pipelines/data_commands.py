"""Verbs about data alone: look at them, write them in another form."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from maskline.errors import JobError

app = typer.Typer()
out = Console()
err = Console(stderr=True)
Type = Annotated[
    str, typer.Option("--type", help="How the data are laid out, as in a job; left out, it is recognised.")
]
Column = Annotated[
    str, typer.Option("--target-column-name", help="Key that holds the objects of an Azure record.")
]
Datastores = Annotated[
    list[str] | None,
    typer.Option("--datastore", help="Where an Azure datastore lies: NAME=URI, or NAME=FOLDER. Repeatable."),
]


def _properties(datastores: list[str] | None) -> dict[str, str]:
    """What a job's properties would say of them."""
    from maskline.inputs import DATASTORE

    found = {}
    for entry in datastores or []:
        name, _, place = entry.partition("=")
        if not name or not place:
            raise JobError(f"--datastore {entry} must read NAME=URI, like pictures=s3://bucket/folder")
        found[f"{DATASTORE}{name}"] = place
    return found


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


@app.command(epilog="Example: `maskline convert data out --to coco`")
def convert(
    source: Annotated[str, typer.Argument(help="Folder, file, archive or URI.", metavar="SRC")],
    folder: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.", metavar="DST")],
    to: Annotated[Literal["azure", "coco", "yolo"], typer.Option(help="Form to write.")],
    kind: Annotated[
        str, typer.Option("--from", help="How SRC is laid out, as in a job; left out, it is recognised.")
    ] = "uri_folder",
    pictures: Annotated[
        Literal["copy", "link"], typer.Option(help="Copy the pictures, or make symbolic links to them.")
    ] = "copy",
    image_url: Annotated[
        str,
        typer.Option(
            help="For azure: what stands before images/NAME, like azureml://datastores/NAME/paths/FOLDER."
        ),
    ] = "",
    target_column_name: Column = "label",
    datastore: Datastores = None,
) -> None:
    """Write annotations of any form as Azure's JSON Lines, COCO or YOLO, and say what changes.

    Pictures, classes, masks and crowd flags are carried over, and no other attributes of records.
    """
    from maskline.components.data_preparation.convert import CONVERSION
    from maskline.components.data_preparation.convert import convert as run

    done = run(
        source,
        folder,
        to,
        kind=kind,
        label_column=target_column_name,
        carry=pictures,
        prefix=image_url,
        properties=_properties(datastore),
    )
    _say(
        f"{done.pictures} pictures, {done.objects} objects and {done.crowds} crowd regions "
        f"are in {done.folder}, as {to}"
    )
    for note in done.notes:
        _say(f"note: {note}")
    if done.kinds:
        counts = ", ".join(f"{number} {kind}" for kind, number in done.kinds.items())
        _say(f"findings: {counts}; {done.lost} records were left out; all are in {done.folder / CONVERSION}")


@app.command(epilog="Example: `maskline inspect data -o report.html`")
def inspect(
    path: Annotated[str, typer.Argument(help="Folder, file, archive or URI.", metavar="PATH")],
    kind: Type = "uri_folder",
    output: Annotated[
        list[Path] | None,
        typer.Option(
            "--output", "-o", help="File to write: .html the report, .json its numbers, .jsonl all findings."
        ),
    ] = None,
    target_column_name: Column = "label",
    max_bad_fraction: Annotated[
        float, typer.Option(help="Share of the records that may be refused.", min=0, max=1)
    ] = 0.05,
    verify: Annotated[
        Literal["header", "scaled", "full"], typer.Option(help="How far pictures are checked.")
    ] = "scaled",
    datastore: Datastores = None,
) -> None:
    """Look at data without a job: what they hold, and what is wrong with them.

    Ends with 1 if they couldn't be trained on.
    """
    from maskline.components.data_preparation.inspect import inspect as run
    from maskline.components.data_preparation.prepare import Source

    from .data_summary import summary

    found = run(
        Source(path, kind),
        output or [],
        label_column=target_column_name,
        max_bad_fraction=max_bad_fraction,
        verify=verify,
        properties=_properties(datastore),
    )
    out.print(summary(found), highlight=False)
    for file in output or []:
        _say(f"written: {file}")
    if found.problems:
        for problem in found.problems:
            err.print(f"error: {problem}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)
