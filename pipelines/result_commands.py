"""The verbs for what a run leaves: its numbers and report, predicting and serving with its model."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from maskline.errors import ModelFileError

app = typer.Typer()
SOME_UNREADABLE = 3
"""Exit code when pictures could not be read; the others have their answers."""


class Form(StrEnum):
    """Forms of answers."""

    AZURE = "azure"
    COCO = "coco"
    LABELME = "labelme"
    PNG = "png"


class Engine(StrEnum):
    """What computes COCO's numbers."""

    HOTCOCO = "hotcoco"
    PYCOCOTOOLS = "pycocotools"


class Kind(StrEnum):
    """What is judged."""

    MASKS = "segm"
    BOXES = "bbox"


EngineOption = Annotated[
    Engine,
    typer.Option(help="What computes COCO's numbers; pycocotools is the reference, the same and slower."),
]


def _option(name: str, meaning: str, **bounds: Any) -> Any:
    return typer.Option(envvar=f"MASKLINE_SERVE_{name}", help=meaning, **bounds)


FILES = {Form.AZURE: "predictions.jsonl", Form.COCO: "predictions.json"}


@app.command(epilog="Example: `maskline report runs/first`")
def report(
    run: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="HTML file to write.", show_default="RUN/report.html"),
    ] = None,
    prepared: Annotated[
        Path | None, typer.Option(help="The prepared data set, if it isn't where it was.")
    ] = None,
    engine: EngineOption = Engine.HOTCOCO,
) -> None:
    """Make a run's numbers and report anew from its predictions, without predicting."""
    from maskline.artifacts import REPORT
    from maskline.components.evaluation.measure import rebuild

    path = output or run / REPORT
    rebuild(run, path, prepared, engine.value)
    typer.echo(f"report: {path}")


@app.command(epilog="Example: `maskline evaluate instances_val2014.json results.json --engine pycocotools`")
def evaluate(
    ground_truth: Annotated[Path, typer.Argument(help="COCO's instances JSON.", metavar="GROUND_TRUTH")],
    results: Annotated[Path, typer.Argument(help="COCO results JSON.", metavar="RESULTS")],
    kind: Annotated[Kind, typer.Option("--iou-type", help="Judge masks or boxes.")] = Kind.MASKS,
    image_ids: Annotated[
        Path | None,
        typer.Option(help="File with the ids of the pictures that count: a JSON list.", show_default="all"),
    ] = None,
    engine: EngineOption = Engine.HOTCOCO,
) -> None:
    """Print COCO's twelve numbers of any predictions, in full precision; -1 stands for undefined."""
    from maskline.coco_forms import read_ids
    from maskline.metrics import coco_scores

    images = None if image_ids is None else read_ids(image_ids)
    scores = coco_scores(ground_truth, results, kind.value, images=images, engine=engine.value)
    for name, value in scores.items():
        typer.echo(f"{name:<10} {value!r}")


@app.command(epilog="Example: `maskline compare runs/first runs/second -o comparison.html`")
def compare(
    first: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN1")],
    second: Annotated[Path, typer.Argument(help="Run directory.", metavar="RUN2")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write, too.")] = None,
) -> None:
    """Show two runs side by side, and whether their difference may be chance."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from maskline.components.evaluation.compare import compare as held_together
    from maskline.components.evaluation.compare import write_comparison

    found = held_together(first, second)
    console = Console()
    for content in (found.scores, found.classes, found.settings):
        shown = Table(box=None, pad_edge=False)
        for label, kind in content.columns:
            shown.add_column(Text(label), justify="right" if kind == "n" else "left")
        for row in content.rows:
            shown.add_row(*(Text(cell) for cell in row))
        console.print(shown)
        console.print()
    console.print(Text(found.verdict), soft_wrap=True)
    if output is not None:
        write_comparison(output, found)
        typer.echo(f"comparison: {output}")


@app.command(epilog="Example: `maskline predict runs/first/model.onnx photos --format coco --out answers`")
def predict(
    model: Annotated[Path, typer.Argument(help="The ONNX file, or its folder.", metavar="MODEL")],
    pictures: Annotated[list[Path], typer.Argument(help="Files, or folders of them.", metavar="PICTURES…")],
    form: Annotated[
        Form,
        typer.Option(
            "--format",
            help="azure: a line of JSON a picture, as Azure ML answers. coco: one COCO file. labelme: a file "
            "a picture, to be corrected in LabelMe. png: objects as numbers, and a table.",
        ),
    ] = Form.AZURE,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for the answers; no file in it is overwritten.", show_default="standard output"
        ),
    ] = None,
    overlay: Annotated[
        bool, typer.Option("--overlay", help="Draw the answers on the pictures, too.")
    ] = False,
    score_threshold: Annotated[
        float | None, typer.Option(help="Least score, 0 to 1.", show_default="the model's")
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(help="Most detections on a picture.", show_default="the model's")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Pictures in work at a time.", show_default="a processor each")
    ] = None,
) -> None:
    """Find objects on pictures with a model of a run; needs no torch.

    Pictures that can't be read are named on standard error, and the exit code is 3; the others are answered.
    """
    from maskline.answer_files import named, require_new, write_overlay
    from maskline.inference import predict as answers_on
    from maskline.onnx_model import OnnxModel
    from maskline.pictures import open_upright

    if out is None and (overlay or form not in FILES):
        hint = f"--format {form.value}" if form not in FILES else "--overlay"
        raise typer.BadParameter("needs --out, a folder to write to", param_hint=hint)
    limits = {"score_threshold": score_threshold, "max_detections": max_detections}
    listed = named(pictures)
    if out is not None:
        require_new(_written(form, out, overlay, [one.name for one in listed]))
    loaded = OnnxModel(model, threads=0 if len(listed) == 1 else 1)
    wanted = {name: value for name, value in limits.items() if value is not None}
    unreadable = 0
    found = answers_on(loaded, [one.file for one in listed], workers=workers, **wanted)
    with _writer(form, out, loaded.classes) as write:
        for picture, answer in zip(listed, found, strict=True):
            if answer.detections is None:
                unreadable += 1
                _tell(answer.error)
                continue
            write(picture.name, picture.file, answer.detections)
            if overlay and out is not None:
                image = open_upright(picture.file)
                write_overlay(out, loaded.classes, picture.name, image, answer.detections)
    if unreadable:
        _tell(f"{unreadable} of {len(listed)} pictures could not be read")
        raise typer.Exit(SOME_UNREADABLE)


@app.command(epilog="Example: `maskline serve runs/first/best_model --port 8080`")
def serve(
    model: Annotated[Path, typer.Argument(help="The ONNX file, or its folder.", metavar="MODEL")],
    host: Annotated[str, _option("HOST", "Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, _option("PORT", "Port to listen at.", min=0, max=65535)] = 8080,
    name: Annotated[str, _option("NAME", "Name of the model in protocol v2.")] = "maskline",
    max_body_bytes: Annotated[int, _option("MAX_BODY_BYTES", "Largest request.", min=1)] = 16 << 20,
    max_pixels: Annotated[int, _option("MAX_PIXELS", "Largest picture.", min=1)] = 50_000_000,
    max_pictures: Annotated[int, _option("MAX_PICTURES", "Most pictures of a request.", min=1)] = 32,
    queue: Annotated[int, _option("QUEUE", "Requests in the house; more get 503.", min=1)] = 128,
    workers: Annotated[
        int, _option("WORKERS", "Requests worked on at a time; 0: a processor each.", min=0)
    ] = 0,
) -> None:
    """Serve a model: Azure ML's request at /score, KServe's protocol at /v2, Prometheus at /metrics.

    Each option is read from the environment, too. Needs no torch.
    """
    try:
        from maskline.serving import ServingLimits
        from maskline.serving import serve as run
    except ModuleNotFoundError as error:
        raise ModelFileError(f"{error.name} is not installed; pip install 'maskline[serve]'") from error
    limits = ServingLimits(max_body_bytes, max_pixels, max_pictures, queue, workers=workers)
    run(model, host=host, port=port, name=name, limits=limits)


def _written(form: Form, out: Path, overlay: bool, names: list[str]) -> Iterator[Path]:
    """The files that answers on pictures of these names make."""
    from maskline import answer_files

    kinds = {Form.LABELME: answer_files.Labelme.suffixes, Form.PNG: answer_files.Png.suffixes}
    suffixes = (*kinds.get(form, ()), *((answer_files.OVERLAY,) if overlay else ()))
    if form in FILES:
        yield out / FILES[form]
    for name in names:
        yield from (answer_files.place(out, name, suffix) for suffix in suffixes)


@contextmanager
def _writer(form: Form, out: Path | None, classes: tuple[str, ...]) -> Iterator[Any]:
    """What writes answers in a form, closed at the end."""
    from maskline import answer_files

    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    if form in FILES:
        with _stream(out and out / FILES[form]) as stream:
            lines = form == Form.AZURE
            writer = answer_files.Lines(stream) if lines else answer_files.Coco(stream, classes)
            yield writer
            writer.close()
    else:
        kind = answer_files.Labelme if form == Form.LABELME else answer_files.Png
        yield kind(out or Path())


@contextmanager
def _stream(file: Path | None) -> Iterator[TextIO]:
    if file is None:
        yield sys.stdout
    else:
        with file.open("w", encoding="utf-8") as stream:
            yield stream


def _tell(text: str) -> None:
    """A line on standard error, whatever letters a file's name has."""
    sys.stderr.buffer.write(f"error: {text}\n".encode("utf-8", "backslashreplace"))
    sys.stderr.flush()
