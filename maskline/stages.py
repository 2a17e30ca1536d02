"""What every stage does at its door: read the job, say that it began and how it ended."""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from .errors import MasklineError, VersionError
from .job import ImageInstanceSegmentationJob

JOURNAL_VARIABLE = "MASKLINE_STAGE_JOURNAL"
"""Environment variable with the file that stages of a local run report to."""
NAMES = (
    "data_snapshot",
    "data_preparation",
    "sweep_trial",
    "trial_selection",
    "evaluation",
    "onnx_export",
)


def pack(job: ImageInstanceSegmentationJob) -> str:
    """The job as one string, with the version of Maskline that it is meant for."""
    text = json.dumps({"maskline": version("maskline"), "job": job.to_dict()})
    # Two braces stand inside texts only, and KFP would take them for a placeholder of its own.
    return text.replace("{{", "\\u007b{")


@contextmanager
def stage(name: str, job: str) -> Iterator[ImageInstanceSegmentationJob]:
    """Enter a stage with the job that `pack` wrote.

    Where JOURNAL_VARIABLE names a file, beginning, end and the reason of a failure are appended to it.

    Raises:
        VersionError: the pipeline was compiled by another version than is installed here.
    """
    _tell(name, "began")
    try:
        yield _unpack(job)
    except BaseException as error:
        text = str(error) if isinstance(error, MasklineError) else f"{type(error).__name__}: {error}"
        _tell(name, "failed", text)
        print(f"{name} failed: {text}", flush=True)  # noqa: T201  the last line of the pod's log
        raise
    _tell(name, "ended")


def _unpack(text: str) -> ImageInstanceSegmentationJob:
    packed = json.loads(text)
    if packed["maskline"] != version("maskline"):
        raise VersionError(
            f"the pipeline was compiled by maskline {packed['maskline']} and this image carries "
            f"{version('maskline')}; compile it again, or use the image tagged {packed['maskline']}"
        )
    return ImageInstanceSegmentationJob.from_dict(packed["job"])


def _tell(name: str, event: str, reason: str = "") -> None:
    journal = os.environ.get(JOURNAL_VARIABLE)
    if journal:
        line = json.dumps({"stage": name, "event": event, "time": time.time(), "reason": reason})
        with Path(journal).open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")
