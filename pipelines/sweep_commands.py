"""Verbs about sweeps: what one has tried so far, and what AutoMode would try."""

import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from maskline.artifacts import TrialRecord

from .cluster_commands import ClusterFile, _client

app = typer.Typer()
out = Console()


@app.command(epilog="Example: `maskline trials runs/first`, or `maskline trials RUN_ID -c cluster.yaml`")
def trials(
    run: Annotated[
        str,
        typer.Argument(
            help="A run directory; with MASKLINE_STUDY_URL, a run's name; with --cluster, a run's id.",
            metavar="RUN",
        ),
    ],
    cluster: ClusterFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every trial as JSON.")] = False,
) -> None:
    """Show the trials of a run, the best first: state, score, epochs, parameters, and why one has ended."""
    from maskline.leaderboard import ranked

    from .progress import trial_table

    found = ranked(_trials(run, cluster))
    if as_json:
        typer.echo(json.dumps([trial.to_json() for trial in found], indent=2))
        return
    out.print(trial_table(found) if found else f"{run} has no trials yet", highlight=False)


def _trials(run: str, cluster: Path | None) -> list[TrialRecord]:
    """From the study, where it is in reach; else from what pods in the cluster have logged."""
    from maskline.study import JOURNAL, existing_study, read_trials
    from maskline.study_storage import STUDY_URL

    if cluster is None or STUDY_URL in os.environ or Path(run, JOURNAL).exists():
        return read_trials(existing_study(run, patience=0))  # a person waits for it
    return _client(cluster).trials(run)


@app.command(epilog="Example: `maskline automode job.yaml`")
def automode(
    job: Annotated[Path, typer.Argument(help="The job, a YAML file.", metavar="JOB")],
    gpu_memory: Annotated[
        float | None,
        typer.Option(help="GiB of the GPUs that trials get; 0 for none. Left out: this machine's."),
    ] = None,
) -> None:
    """Show what AutoMode would try for a job without a search space; its data are read for it."""
    from maskline import automode as mode
    from maskline.components.data_preparation.prepare_job import prepare_job
    from maskline.components.sweep_trial import devices
    from maskline.job import load_sound_job

    from .compiler import located, plan

    loaded = located(load_sound_job(job))
    if not loaded.automode:
        raise typer.BadParameter(
            "the job says itself what to try; AutoMode needs limits.max_trials above 1 and no search_space"
        )
    memory = devices.gpu_memory() if gpu_memory is None else gpu_memory
    with tempfile.TemporaryDirectory() as folder:
        named = plan(loaded)
        where = (named.training_data, named.validation_data, named.test_data)
        data = prepare_job(loaded, *where, Path(folder))
        facts = mode.Facts.of(data.coco("train"), memory, devices.rfdetr_sizes())
    chosen = mode.strategy(facts, loaded.fixed_settings())
    out.print(chosen.text(loaded.limits.max_trials), highlight=False, markup=False, soft_wrap=True)
