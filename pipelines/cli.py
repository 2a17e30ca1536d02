"""The command line. Each verb is thin: it reads its arguments, calls, and says where the results lie."""

import re
import sys
import time
import warnings
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from maskline import __version__
from maskline.errors import MasklineError

from . import cluster_commands, data_commands, result_commands, sweep_commands

app = typer.Typer(
    name="maskline",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="AutoML for image instance segmentation on Kubeflow Pipelines.",
    epilog="Example: `maskline sample-data demo`, then `maskline run demo/job.yaml`",
)
out = Console()
err = Console(stderr=True)
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml"}
"""Of modules whose distribution has another name."""
UNREAD = "kept, and not read by any stage yet"
JobFile = Annotated[Path, typer.Argument(help="The job, a YAML file.", metavar="JOB")]


def _version(asked: bool) -> None:
    if asked:
        out.print(f"maskline {__version__}", highlight=False)
        raise typer.Exit


def _note(text: str) -> None:
    err.print(f"note: {text}", highlight=False, markup=False, soft_wrap=True)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: `maskline validate job.yaml`")
def validate(
    job: JobFile,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Look whether data on this machine exist.")
    ] = True,
) -> None:
    """Tell all problems of a job at once, missing data included, and start nothing."""
    from maskline.job import load_sound_job
    from maskline.readiness import elsewhere

    loaded = load_sound_job(job, check_data=data)
    for path in elsewhere(loaded):
        _note(f"{path} is not on this machine; it is looked at when the run begins")
    if names := loaded.unread():
        _note(f"{', '.join(names)}: {UNREAD}")
    out.print(f"{job} is a valid job", highlight=False)


@app.command(epilog="Example: `maskline run job.yaml --run-dir runs/first`")
def run(
    job: JobFile,
    run_dir: Annotated[
        Path | None,
        typer.Option(
            help="Folder for all that the run leaves; must be new or empty.", show_default="runs/NAME-TIME"
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the interrupted run in --run-dir from its checkpoints.")
    ] = False,
    runner: Annotated[
        Literal["subprocess", "docker"],
        typer.Option(help="Stages are processes here, or containers as a cluster runs them."),
    ] = "subprocess",
) -> None:
    """Run a job on this machine: data, sweep, evaluation, ONNX file, report."""
    from maskline.job import load_sound_job

    from .compiler import pipeline_name
    from .local_runner import AT_ONCE, run_local
    from .progress import Display

    if resume and run_dir is None:
        raise typer.BadParameter("--resume continues the run in --run-dir; say which")
    loaded = load_sound_job(job)
    directory = run_dir or Path("runs") / f"{pipeline_name(loaded)}-{time.strftime('%Y%m%d-%H%M%S')}"
    if loaded.limits.concurrent_trials > AT_ONCE:
        _note(f"on one machine {AT_ONCE} trials run at a time, whatever max_concurrent_trials says")
    if names := loaded.unread():
        _note(f"{', '.join(names)}: {UNREAD}")
    out.print(f"run directory: {directory}", highlight=False, soft_wrap=True)
    with Display(out, loaded.limits.max_trials) as display:
        files = run_local(loaded, directory, watch=display, resume=resume, runner=runner)
    for name, path in (
        ("report", files.report),
        ("data report", files.data_report),
        ("model", files.checkpoint),
        ("ONNX file", files.onnx),
        ("leaderboard", files.leaderboard),
        ("metrics", files.metrics),
    ):
        out.print(f"{name + ':':<14}{path}", highlight=False, soft_wrap=True)


@app.command("compile", epilog="Example: `maskline compile job.yaml -o pipeline.yaml --cluster cluster.yaml`")
def compile_(
    job: JobFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Pipeline file to write, .yaml.")],
    cluster: Annotated[
        Path | None, typer.Option(help="Cluster file: images, computes, volumes, secrets.", metavar="FILE")
    ] = None,
    kubernetes: Annotated[
        bool,
        typer.Option("--kubernetes", help="Write Pipeline and PipelineVersion, to be applied with kubectl."),
    ] = False,
) -> None:
    """Compile a job to a Kubeflow pipeline (KFP v2 IR), to be uploaded or submitted."""
    from maskline.job import load_sound_job

    from .cluster_file import read_cluster
    from .compiler import compile_job, outside

    placed = read_cluster(cluster) if cluster else None
    loaded = load_sound_job(job, check_data=False)
    compile_job(loaded, output, placed, kubernetes)
    if names := loaded.unread(placed=placed is not None):
        _note(f"{', '.join(names)}: {UNREAD}")
    for path in outside(loaded, placed):
        _note(f"{path} is read in the cluster, where it is on no volume that is mounted")
    way = "applied with kubectl" if kubernetes else "uploaded to Kubeflow Pipelines"
    out.print(f"{output} is ready to be {way}", highlight=False, soft_wrap=True)


@app.command(epilog="Example: `maskline new data/train -o job.yaml`")
def new(
    data: Annotated[Path, typer.Argument(help="Folder or file of annotated pictures.", metavar="DATA")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Job file to write.")] = Path("job.yaml"),
) -> None:
    """Write a commented job file for a folder of annotated pictures."""
    from .new_job import write_job

    out.print(write_job(data, output), highlight=False, soft_wrap=True)


@app.command("sample-data", epilog="Example: `maskline sample-data demo`")
def sample_data(
    folder: Annotated[Path, typer.Argument(help="Folder to write; must be new or empty.", metavar="DIR")],
) -> None:
    """Draw a small, licence-free data set to try things with, and a job for it."""
    from .new_job import write_sample

    out.print(write_sample(folder), highlight=False, soft_wrap=True)


@app.command(epilog="Example: `maskline parameters`")
def parameters() -> None:
    """List every training parameter: range, default, meaning."""
    from .knobs import knob_table

    sys.stdout.write(knob_table())


for panel, verbs in (
    ("Data", data_commands.app),
    ("Sweeps", sweep_commands.app),
    ("Results", result_commands.app),
    ("Cluster", cluster_commands.app),
):
    for command in verbs.registered_commands:
        command.rich_help_panel = panel
    for group in verbs.registered_groups:
        group.rich_help_panel = panel
    app.add_typer(verbs)


def main() -> None:
    """Entry point: errors are lines, not tracebacks."""
    # Pillow's, of pictures that maskline.pictures has a limit of its own for.
    warnings.filterwarnings("ignore", message=".*decompression bomb")
    try:
        app()
    except MasklineError as error:
        problems = getattr(error, "problems", None) or [str(error)]
        for problem in problems:
            err.print(f"error: {problem}", highlight=False, markup=False, soft_wrap=True)
        sys.exit(1)
    except OSError as error:
        err.print(f"error: {error}; correct the path or its permissions", markup=False, soft_wrap=True)
        sys.exit(1)
    except ModuleNotFoundError as error:
        if (package := to_install(error.name or "")) is None:
            raise
        err.print(f"error: {error.name} is not installed; pip install '{package}'", markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("interrupted")
        sys.exit(130)


def to_install(module: str) -> str | None:
    """What pip is told so that a module is there that this command needs; None if it is none of ours."""
    name = module.partition(".")[0]
    wanted = DISTRIBUTIONS.get(name, name)
    for requirement in metadata.requires("maskline") or []:
        extra = re.search(r"extra == .(\w+)", requirement)
        if re.split(r"[^\w.-]", requirement)[0].lower() == wanted.lower() and (
            not extra or extra[1] != "dev"
        ):
            return f"maskline[{extra[1]}]" if extra else "maskline"
    return None


if __name__ == "__main__":
    main()
