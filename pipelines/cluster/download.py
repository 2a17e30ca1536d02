"""What a run left behind, brought to this machine: its artifacts and its run directory."""

from collections.abc import Iterator
from pathlib import Path

from maskline import storage
from maskline.errors import ClusterError, JobError

from .connection import Connection


def download(connection: Connection, run_id: str, folder: Path) -> list[Path]:
    """Fetch what a run left in object stores.

    Artifacts come into `artifacts/TASK/NAME`, the run directory into `run/`. Credentials are this machine's.

    Args:
        connection: to the cluster.
        run_id: of the run.
        folder: to write; must be new or empty.

    Returns:
        The files.

    Raises:
        JobError: the folder isn't empty.
        ClusterError: there is no such run, it left nothing that can be reached from here, or a file can't be
            had.
    """
    if folder.exists() and any(folder.iterdir()):
        raise JobError(f"{folder} is not empty; choose another folder")
    run = connection.ask(f"run {run_id}", connection.runs.run_service_get_run, run_id=run_id)
    wanted = [*_artifacts(connection, run, folder), *_run_directory(connection, run, folder)]
    if outside := [place for place, target, _ in wanted if ".." in target.relative_to(folder).parts]:
        raise ClusterError(
            f"{outside[0]} would be written outside of {folder}; look who writes to that store"
        )
    if not wanted:
        root, run_root = connection.cluster.kubeflow.pipeline_root, connection.cluster.run_root
        raise ClusterError(
            f"run {run_id} left nothing in an object store that the cluster file names: "
            f"kubeflow.pipeline_root is {root or 'not given'}, run_root is {run_root}; give URIs "
            "there, or copy from the volume by way of manifests/reader.yaml"
        )
    failed = []
    done = []
    for target, error in storage.fetch_all(wanted):
        if error is None:
            done.append(target)
        else:
            failed.append(str(error))
    if failed:
        raise ClusterError([f"{len(failed)} of {len(wanted)} files can't be had:", *failed[:10]])
    return done


def artifacts(connection: Connection, run: object) -> Iterator[tuple[storage.Entry, str, str]]:
    """A run's artifacts in an object store, file by file: KFP's `ROOT/PIPELINE/RUN/TASK/EXECUTION/NAME`.

    Returns:
        Entry, task and execution of each; nothing where artifacts go to no store that is known here.

    Raises:
        StorageError: the store can't be reached, or holds none.
    """
    given = getattr(run, "runtime_config", None)
    root = (given.pipeline_root if given else None) or connection.cluster.kubeflow.pipeline_root
    specification = getattr(run, "pipeline_spec", None) or {}
    specification = specification.get("pipeline_spec", specification)
    pipeline = specification.get("pipelineInfo", {}).get("name")
    if not root or not pipeline:
        return
    place = storage.join(root, pipeline, getattr(run, "run_id"))  # noqa: B009  kfp has no type information
    for entry in storage.listing(place):
        task, *rest = Path(entry.name).parts
        if len(rest) > 1:
            yield entry, task, rest[0]


def _artifacts(connection: Connection, run: object, folder: Path) -> Iterator[tuple[str, Path, int | None]]:
    for entry, task, _ in artifacts(connection, run):
        # The execution's own folder tells nothing.
        yield entry.place, folder / "artifacts" / task / Path(*Path(entry.name).parts[2:]), entry.size


def run_directory(connection: Connection, run: object) -> str | None:
    """The URI of a run's directory; None for one on a volume."""
    given = getattr(run, "runtime_config", None)
    parameters = (given.parameters if given else None) or {}
    root = str(parameters.get("run_root") or connection.cluster.run_root)
    if "://" not in root:
        return None
    return storage.join(root, str(parameters.get("run_name") or getattr(run, "run_id")))  # noqa: B009


def _run_directory(
    connection: Connection, run: object, folder: Path
) -> Iterator[tuple[str, Path, int | None]]:
    if (place := run_directory(connection, run)) is None:
        return
    for entry in storage.listing(place):
        yield entry.place, folder / "run" / entry.name, entry.size
