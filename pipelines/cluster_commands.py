"""Verbs about the cluster: submit, watch, stop and repeat runs, and see whether the cluster is ready."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from maskline.errors import ClusterError, JobError

if TYPE_CHECKING:
    from .cluster.client import Client
    from .cluster.states import RunStatus

app = typer.Typer()
schedule = typer.Typer(no_args_is_help=True, help="Run a job again and again, on data as they are then.")
app.add_typer(schedule, name="schedule")
out = Console()
err = Console(stderr=True)
FILE_VARIABLE = "MASKLINE_CLUSTER"

JobFile = Annotated[Path, typer.Argument(help="The job, a YAML file.", metavar="JOB")]
RunId = Annotated[str, typer.Argument(help="Id of the run, as `maskline submit` told it.", metavar="RUN_ID")]
ScheduleId = Annotated[str, typer.Argument(help="Id of the schedule.", metavar="SCHEDULE_ID")]
ClusterFile = Annotated[
    Path | None,
    typer.Option("--cluster", "-c", envvar=FILE_VARIABLE, help="Cluster file.", metavar="FILE"),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A parameter of the pipeline, NAME=VALUE; may be repeated.", metavar="NAME=VALUE"
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Tell it as JSON.")]
Check = Annotated[bool, typer.Option("--check/--no-check", help="Look first whether the cluster is ready.")]


def _client(cluster: Path | None) -> "Client":
    import logging

    from .cluster.client import Client

    # Each failure is told in one line of ours.
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    return Client(cluster)


def _say(text: str) -> None:
    out.print(text, highlight=False, markup=False, soft_wrap=True)


def _settings(given: list[str] | None) -> dict[str, Any]:
    """Parameters of the pipeline; mappings and lists are written as YAML."""
    import yaml  # which the server's image lacks

    found = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise JobError(f"--set {text} is not legal; write NAME=VALUE")
        try:
            plain = yaml.safe_load(value) if value[:1] in "{[" and not value.startswith("[[") else value
        except yaml.YAMLError:
            raise JobError(f"--set {name}: {value} is no YAML; write {{key: value}} or [value]") from None
        found[name] = plain
    return found


@app.command(epilog="Example: `maskline submit job.yaml --cluster cluster.yaml --watch`")
def submit(
    job: JobFile,
    cluster: ClusterFile = None,
    parameters: Settings = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    check: Check = True,
    as_json: Json = False,
) -> None:
    """Start a job in the cluster. What is wrong is told before anything is created."""
    from maskline.job import load_sound_job

    client = _client(cluster)
    loaded = load_sound_job(job, check_data=False)
    submitted = client.submit(loaded, _settings(parameters), check)
    for name in loaded.unread(placed=cluster is not None):
        err.print(f"note: {name}: kept, and not read by any stage yet", highlight=False, markup=False)
    if as_json:
        _say(json.dumps({"id": submitted.id, "status": submitted.status, "page": submitted.studio_url}))
    else:
        _say(f"run:        {submitted.id}")
        _say(f"experiment: {submitted.experiment_name or 'maskline'}")
        _say(f"page:       {submitted.studio_url}")
    if watch:
        _follow(client, str(submitted.id))


def _follow(client: "Client", run_id: str) -> None:
    ended = client.wait(run_id, watch=lambda status: _say(_line(status)))
    if ended.state != "Completed":
        raise ClusterError(f"run {run_id} ended {ended.state}{': ' if ended.error else ''}{ended.error}")


def _line(status: "RunStatus") -> str:
    """A run in one line."""
    stages = "; ".join(
        f"{stage}: " + ", ".join(f"{count} {state.lower()}" for state, count in counts.items())
        for stage, counts in status.stages.items()
    )
    troubles = "".join(f"\n  {trouble}" for trouble in status.troubles)
    return f"{status.state:<16}{stages}{troubles}".rstrip()


@app.command(epilog="Example: `maskline status`, or `maskline status RUN_ID --watch`")
def status(
    run_id: Annotated[
        str | None, typer.Argument(help="Id of the run; left out, the youngest runs.", metavar="RUN_ID")
    ] = None,
    cluster: ClusterFile = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    as_json: Json = False,
) -> None:
    """Tell where a run is, in Azure's words, and what is wrong with its pods; or list runs."""
    client = _client(cluster)
    if run_id is None:
        _list(client, as_json)
        return
    if watch:
        _follow(client, run_id)
        return
    found = client.status(run_id)
    if as_json:
        _say(json.dumps(_plain(found)))
        return
    _say(f"run:      {found.run_id} ({found.name})")
    _say(f"status:   {_line(found)}")
    if found.error:
        _say(f"error:    {' '.join(found.error.split())}")
    _say(f"page:     {found.page}")
    if not found.seen:
        err.print(
            "note: Kubernetes can't be asked, so this is what Kubeflow Pipelines alone knows", highlight=False
        )


def _plain(found: "RunStatus") -> dict[str, Any]:
    return {
        "id": found.run_id,
        "name": found.name,
        "status": found.state,
        "kfp_state": found.kfp_state,
        "stages": found.stages,
        "troubles": list(found.troubles),
        "error": found.error,
        "created_at": found.created.isoformat() if found.created else None,
        "finished_at": found.finished.isoformat() if found.finished else None,
        "page": found.page,
    }


def _list(client: "Client", as_json: bool) -> None:
    runs = client.runs()
    if as_json:
        _say(json.dumps([_plain(run) for run in runs]))
        return
    table = Table("run", "name", "status", "created", box=None, pad_edge=False)
    for run in runs:
        created = run.created.strftime("%Y-%m-%d %H:%M") if run.created else ""
        table.add_row(run.run_id, run.name, run.state, created)
    _tell(table, bool(runs), f"no runs in namespace {client.cluster.kubeflow.namespace}")


def _tell(table: Table, some: bool, none: str) -> None:
    """A table as wide as it needs to be, for cut and grep; or a line that there is nothing."""
    if some:
        Console(width=max(200, out.width)).print(table, highlight=False)
    else:
        _say(none)


@app.command(epilog="Example: `maskline logs RUN_ID --follow --trial 2`")
def logs(
    run_id: RunId,
    cluster: ClusterFile = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run ends.")] = False,
    trial: Annotated[int | None, typer.Option(help="Only of this trial of the sweep.", min=0)] = None,
    stage: Annotated[str | None, typer.Option(help="Only of this stage, as sweep_trial.")] = None,
) -> None:
    """Show what the stages of a run print, each line after its pod's name."""
    from maskline.rules import nearest_name
    from maskline.stages import NAMES

    if stage is not None and stage not in NAMES:
        raise JobError(f"--stage {stage} is no stage; {nearest_name(stage, NAMES)}")
    for line in _client(cluster).logs(run_id, follow, trial, stage):
        _say(line)


@app.command(epilog="Example: `maskline cancel RUN_ID`")
def cancel(run_id: RunId, cluster: ClusterFile = None) -> None:
    """Stop a run. With `maskline retry` its trials go on from their last checkpoints."""
    _say(f"run {run_id}: {_client(cluster).cancel(run_id).state}")


@app.command(epilog="Example: `maskline retry RUN_ID`")
def retry(run_id: RunId, cluster: ClusterFile = None) -> None:
    """Run what failed of a run again; what was done is kept, and trials go on from their checkpoints."""
    _say(f"run {run_id}: {_client(cluster).retry(run_id).state}")


@app.command(epilog="Example: `maskline download RUN_ID -o results`")
def download(
    run_id: RunId,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write; must be new or empty.")],
    cluster: ClusterFile = None,
) -> None:
    """Fetch report, ONNX file and the rest of what a run left in object stores."""
    files = _client(cluster).download(run_id, output)
    _say(f"{len(files)} files in {output}")


@app.command("open", epilog="Example: `maskline open RUN_ID`")
def open_(
    run_id: RunId,
    cluster: ClusterFile = None,
    browser: Annotated[bool, typer.Option("--browser", help="Also open it in a browser.")] = False,
) -> None:
    """Tell the address of a run's page in Kubeflow."""
    page = _client(cluster).status(run_id).page
    _say(page)
    if browser:
        typer.launch(page)


@app.command(epilog="Example: `maskline doctor --cluster cluster.yaml --job job.yaml`")
def doctor(
    cluster: ClusterFile = None,
    job: Annotated[
        Path | None,
        typer.Option("--job", help="A job that is to run there: its compute and data.", metavar="JOB"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Look whether a cluster is ready: one line a check, pass, fail or unknown, with the remedy."""
    from maskline.job import load_sound_job

    from .cluster.doctor import Doctor

    client = _client(cluster)
    loaded = load_sound_job(job, check_data=False) if job else None
    failed = 0
    for finding in Doctor(client.connection, loaded, client.placing).all():
        failed += finding.outcome == "fail"
        if as_json:
            _say(json.dumps({k: v for k, v in vars(finding).items() if k != "vital"}))
        else:
            _say(f"{finding.outcome:<8}{finding.line}")
    if failed:
        raise ClusterError(f"{failed} check{'s' if failed > 1 else ''} failed")


@schedule.command("create", epilog="Example: `maskline schedule create job.yaml --cron '0 3 * * 1'`")
def create(
    job: JobFile,
    cron: Annotated[str, typer.Option(help="Five fields, or six with seconds first; UTC.")],
    cluster: ClusterFile = None,
    parameters: Settings = None,
    catchup: Annotated[
        bool, typer.Option("--catchup", help="Also run what was missed while nothing could run.")
    ] = False,
    max_concurrency: Annotated[int, typer.Option(help="Most runs of it at a time, 1 to 10.")] = 1,
    paused: Annotated[bool, typer.Option("--paused", help="Make it without starting it.")] = False,
    check: Check = True,
) -> None:
    """Run a job by the clock. Each run reads the data anew, as of its scheduled time."""
    from maskline.job import load_sound_job

    client = _client(cluster)
    loaded = load_sound_job(job, check_data=False)
    given = _settings(parameters)
    made = client.schedules.create(loaded, cron, given, catchup, max_concurrency, paused, check)
    _say(f"schedule:   {made.schedule_id}")
    _say(f"experiment: {loaded.experiment_name or 'maskline'}")
    _say(f"cron:       {made.cron} (UTC)")
    _say(f"next:       {made.next:%Y-%m-%d %H:%M:%S} UTC" if made.next else "next:       none, it is paused")


@schedule.command("list", epilog="Example: `maskline schedule list`")
def list_(cluster: ClusterFile = None, as_json: Json = False) -> None:
    """List the schedules of the namespace."""
    client = _client(cluster)
    found = client.schedules.list()
    if as_json:
        _say(
            json.dumps(
                [
                    {"id": s.schedule_id, "name": s.name, "cron": s.cron, "enabled": s.enabled}
                    | {"next": s.next.isoformat() if s.next else None}
                    for s in found
                ]
            )
        )
        return
    table = Table("schedule", "name", "cron (UTC)", "state", "next", box=None, pad_edge=False)
    for one in found:
        upcoming = f"{one.next:%Y-%m-%d %H:%M}" if one.next else ""
        table.add_row(one.schedule_id, one.name, one.cron, "on" if one.enabled else "paused", upcoming)
    _tell(table, bool(found), f"no schedules in namespace {client.cluster.kubeflow.namespace}")


@schedule.command(epilog="Example: `maskline schedule pause SCHEDULE_ID`")
def pause(schedule_id: ScheduleId, cluster: ClusterFile = None) -> None:
    """Start no more runs; those that run go on."""
    _client(cluster).schedules.pause(schedule_id)
    _say(f"schedule {schedule_id}: paused")


@schedule.command(epilog="Example: `maskline schedule resume SCHEDULE_ID`")
def resume(schedule_id: ScheduleId, cluster: ClusterFile = None) -> None:
    """Start runs again; what was missed is not made up for, unless it was created with --catchup."""
    _client(cluster).schedules.resume(schedule_id)
    _say(f"schedule {schedule_id}: on")


@schedule.command(epilog="Example: `maskline schedule delete SCHEDULE_ID`")
def delete(schedule_id: ScheduleId, cluster: ClusterFile = None) -> None:
    """Remove a schedule; its runs stay."""
    _client(cluster).schedules.delete(schedule_id)
    _say(f"schedule {schedule_id}: deleted")
