"""Job files for a beginning: one for a user's folder of pictures, one for the sample data."""

import os
import re
import shutil
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from maskline.annotations import read_annotations
from maskline.errors import DataError, JobError
from maskline.sample_data import write_sample_data

SAMPLE_JOB = "sample_job.yaml"
LARGE_PICTURE = 400
"""Pictures with a shorter side of more pixels than this get a picture size of their own in the job."""


def write_job(data: Path, output: Path) -> str:
    """Write a commented job file for annotated pictures.

    Args:
        data: folder or file in a format that data_preparation reads.
        output: file to write; must not exist.

    Returns:
        What was found and written, in one line.

    Raises:
        DataError: the data can't be read, or no format is recognised.
        JobError: the file exists, or its folder doesn't.
    """
    if output.exists():
        raise JobError(f"{output} exists; choose another file with --output, or remove it")
    if not output.parent.is_dir():
        raise JobError(f"the folder {output.parent} doesn't exist; make it first")
    where = os.path.abspath(data)
    found = read_annotations(where, "uri_file" if data.is_file() else "uri_folder")
    if not any(picture.instances for picture in found.pictures):
        worst = "; ".join(str(finding) for finding in found.findings[:3])
        raise DataError(f"{data} has no labelled picture that can be used{f': {worst}' if worst else ''}")
    instances = sum(len(picture.instances) for picture in found.pictures)
    side = min((min(p.width or 0, p.height or 0) for p in found.pictures), default=0) or LARGE_PICTURE
    size = min(side, LARGE_PICTURE)
    summary = f"{len(found.pictures)} pictures, {instances} instances, {len(found.classes)} classes"
    if found.findings:
        summary += f", {len(found.findings)} findings that the run's report will list"
    relative = os.path.relpath(data, output.parent)
    template = Environment(
        loader=PackageLoader("maskline.pipelines", "."),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  YAML, not HTML; what goes in is quoted below
    ).get_template("job.yaml.j2")
    text = template.render(
        file=output,
        name=re.sub(r"[^a-z0-9]+", "-", data.resolve().stem.lower()).strip("-") or "segmentation",
        summary=summary,
        kind="uri_file" if data.is_file() else "uri_folder",
        path=_quoted(relative if relative.startswith(".") else f"./{relative}"),
        model="maskrcnn_resnet18_fpn_light",
        epochs=20,
        min_size=size,
        max_size=2 * size,
        workers=min(2, len(os.sched_getaffinity(0))),
    )
    output.write_text(text, encoding="utf-8")
    return f"{output} is a job for {summary}; check it with: maskline validate {output}"


def write_sample(folder: Path) -> str:
    """Draw the sample data set and put its job beside it; what was written, in one line."""
    write_sample_data(folder)
    job = folder / "job.yaml"
    shutil.copyfile(Path(__file__).with_name(SAMPLE_JOB), job)
    return f"{folder} holds a data set and a job for it; run it with: maskline run {job}"


def _quoted(text: str) -> str:
    """As a YAML scalar in single quotes."""
    return "'" + text.replace("'", "''") + "'"
