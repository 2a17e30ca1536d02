"""What stages printed, when their pods are gone: KFP's launcher keeps it as an artifact."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from maskline import storage
from maskline.artifacts import LOG
from maskline.errors import ClusterError, MissingError, StorageError

from .connection import Connection
from .download import artifacts, run_directory

KEPT = "executor-logs"
"""Name of the artifact."""


class Log(NamedTuple):
    """What one pod printed.

    Attributes:
        name: of the pod or its task, for people.
        stage: that it ran.
        text: what it printed.
        ended: whether it is done.
    """

    name: str
    stage: str
    text: str
    ended: bool


def kept_logs(connection: Connection, run_id: str, stage: str | None) -> Iterator[Log]:
    """The logs that KFP keeps of a run; none where artifacts go to no store that the cluster file names.

    Args:
        connection: to the cluster.
        run_id: of the run.
        stage: only of this one.

    Raises:
        ClusterError: there is no such run, or its logs are there and can't be read from here.
    """
    run = connection.ask(f"run {run_id}", connection.runs.run_service_get_run, run_id=run_id)
    try:
        for entry, task, execution in artifacts(connection, run):
            known = re.sub(r"-\d+$", "", task).replace("-", "_")
            if entry.name.endswith(f"/{KEPT}") and stage in (None, known):
                text = storage.read_bytes(entry.place).decode(errors="replace")
                yield Log(f"{known}-{execution[:8]}", known, text, True)
    except MissingError:
        return  # it has made no artifact yet
    except StorageError as error:
        raise _out_of_reach(run_id, error) from None


def kept_trial(connection: Connection, run_id: str, trial: int) -> Log | None:
    """What a trial's training printed, from a run directory at a URI; None where there is none."""
    run = connection.ask(f"run {run_id}", connection.runs.run_service_get_run, run_id=run_id)
    if (place := run_directory(connection, run)) is None:
        return None
    try:
        text = storage.read_bytes(storage.join(place, "trials", str(trial), LOG)).decode(errors="replace")
    except MissingError:
        return None
    except StorageError as error:
        raise _out_of_reach(run_id, error) from None
    return Log(f"trial-{trial}", "sweep_trial", text, True)


def _out_of_reach(run_id: str, error: StorageError) -> ClusterError:
    return ClusterError(f"the pods of run {run_id} are gone, and their logs can't be had: {error}")
