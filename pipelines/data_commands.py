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


@app.command(epilog="Example: `maskline augmentations job.yaml -o sheet.html`")
def augmentations(
    job: Annotated[Path, typer.Argument(help="The job, a YAML file.", metavar="JOB")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write, .html.")],
    pictures: Annotated[int, typer.Option(help="Training pictures to show.", min=1, max=50)] = 6,
    draws: Annotated[int, typer.Option(help="Epochs to show of each.", min=1, max=20)] = 4,
    seed: Annotated[int | None, typer.Option(help="Left out: the job's random_seed, or 0.")] = None,
) -> None:
    """Show training pictures as a training with the job's settings would see them, with their objects.

    Sizes are those of the job's training_parameters; what a search space draws is left at its default.
    """
    import tempfile

    from maskline.augmentation_sheet import write_sheet
    from maskline.components.data_preparation.prepare_job import prepare_job
    from maskline.job import load_sound_job
    from maskline.settings import complete

    from .compiler import located, plan

    if output.suffix.lower() != ".html":
        raise JobError(f"--output {output} must end in .html")
    loaded = located(load_sound_job(job))
    settings = complete(loaded.fixed_settings())
    if seed is None:
        seed = settings.random_seed or 0
    with tempfile.TemporaryDirectory(prefix="maskline-augmentations-") as folder:
        named = plan(loaded)
        data = prepare_job(loaded, named.training_data, named.validation_data, named.test_data, Path(folder))
        write_sheet(data, settings, output, pictures=pictures, draws=draws, seed=seed)
    _say(f"written: {output}")
