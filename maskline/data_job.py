"""The part of a job that says how data are prepared: all that data_preparation reads, and nothing else.

KFP's cache compares what a stage is given. With this part alone, another learning rate doesn't have the same
data prepared again.
"""

import json

from .inputs import DATASTORE
from .job import ImageInstanceSegmentationJob
from .settings import complete

SETTINGS = ("random_seed",)
ADVANCED = ("max_bad_fraction", "verify", "materialise", "group_column")
FIELDS = (
    "training_data",
    "validation_data",
    "test_data",
    "target_column_name",
    "validation_data_size",
    "test_data_size",
)


def data_job(job: ImageInstanceSegmentationJob) -> ImageInstanceSegmentationJob:
    """A job with the fields only that matter to the prepared data set."""
    whole = job.to_dict()
    plain = {name: value for name, value in whole.items() if name in ("type", "task", *FIELDS)}
    for name in ("training_data", "validation_data", "test_data"):
        if name in plain:
            # Where data lie is told beside the job; a scheduler may have changed it.
            plain[name] = {"type": plain[name].get("type", "uri_folder"), "path": name}
    if stores := {k: v for k, v in job.properties.items() if k.lower().startswith(DATASTORE)}:
        plain["properties"] = stores
    settings = complete(job.fixed_settings())
    chosen = {name: value for name in SETTINGS if (value := getattr(settings, name)) is not None}
    given = settings.advanced.model_dump(mode="json", exclude_unset=True)
    if advanced := {name: value for name, value in given.items() if name in ADVANCED}:
        chosen["advanced_settings"] = json.dumps(advanced, sort_keys=True)
    if chosen:
        plain["training_parameters"] = chosen
    return ImageInstanceSegmentationJob.from_dict(plain)


def kind_of(job: ImageInstanceSegmentationJob, part: str) -> str:
    """How a part of the data, `train`, `validation` or `test`, is laid out.

    A path that a scheduler gives for data the job doesn't name is laid out as the training data are.
    """
    given = {"validation": job.validation_data, "test": job.test_data}.get(part) or job.training_data
    return str(given.type) if given else "uri_folder"
