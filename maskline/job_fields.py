"""What a job holds: its fields, their types and defaults, under Azure's names."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, JsonValue

from .entities import Identity, JobResourceConfiguration, QueueSettings
from .inputs import Input, Output, as_input
from .rules import Part
from .search_space import SearchSpace
from .settings import TrainingSettings
from .sweep import ImageLimitSettings, ImageSweepSettings
from .words import Word, word


class InstanceSegmentationPrimaryMetrics(Word):
    """What the best trial is chosen by."""

    MEAN_AVERAGE_PRECISION = "mean_average_precision"


class LogVerbosity(Word):
    """How much is logged."""

    NOT_SET = "not_set"
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class TaskType(Word):
    """What is learned."""

    IMAGE_INSTANCE_SEGMENTATION = "image_instance_segmentation"


TEXTS = ("tags", "properties", "environment_variables")
"""Fields that map names to texts."""


def as_texts(value: Any) -> Any:
    """Tags and the like are texts; numbers and truth values become theirs."""
    if not isinstance(value, Mapping):
        return value
    return {str(k): _text(v) for k, v in value.items()}


def _text(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return "" if value is None else str(value).lower()
    return str(value) if isinstance(value, int | float) else value


def _set_only(value: Any) -> Any:
    """Training parameters without those that are None; None if nothing is left."""
    if isinstance(value, TrainingSettings):
        value = value.model_dump(mode="json", exclude_unset=True)
    if not isinstance(value, Mapping):
        return value
    return {k: v for k, v in value.items() if v is not None or k not in TrainingSettings.model_fields} or None


def _spaces(value: Any) -> Any:
    if isinstance(value, SearchSpace | Mapping):
        value = [value]
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError("is not a list of sub-spaces; give a list of SearchSpace, or of mappings")
    return list(value) or None


def _space(value: Any) -> Any:
    if isinstance(value, Mapping):
        return SearchSpace(**{str(k): v for k, v in value.items()})
    if not isinstance(value, SearchSpace):
        raise ValueError(
            "is not a sub-space; give a SearchSpace, or a mapping of parameters to distributions"
        )
    return value


def _job_inputs(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {k: Input(**v) if isinstance(v, Mapping) else v for k, v in value.items()}


Texts = Annotated[dict[str, str], BeforeValidator(as_texts)]
Data = Annotated[Input, BeforeValidator(as_input)]
Share = Annotated[float, Field(gt=0, lt=1)]
Metric = Annotated[InstanceSegmentationPrimaryMetrics, word(InstanceSegmentationPrimaryMetrics)]
Spaces = Annotated[
    list[Annotated[SearchSpace, BeforeValidator(_space)]] | None,
    BeforeValidator(lambda value: None if value is None else _spaces(value)),
]


class JobFields(Part):
    """The fields of a job, each checked on its own. In a file `task_type` is called `task`."""

    model_config = ConfigDict(arbitrary_types_allowed=True, validate_by_name=True, validate_by_alias=True)

    type: Literal["automl"] = "automl"
    """Always `automl`."""
    task_type: Annotated[TaskType, word(TaskType)] = Field(TaskType.IMAGE_INSTANCE_SEGMENTATION, alias="task")
    """Always `image_instance_segmentation`; the key in YAML is `task`."""
    name: str | None = None
    """Name of the run."""
    display_name: str | None = None
    """Name that is shown."""
    experiment_name: str | None = None
    """Group of runs that this one belongs to."""
    description: str | None = None
    """What it is for, in words."""
    tags: Texts = {}
    """Labels of the run."""
    properties: Texts = {}
    """Further labels. `azureml:NAME:VERSION` as a key says where that data asset lies."""
    compute: str | None = None
    """Name of a compute in the cluster file; `azureml:` may stand before it."""
    resources: JobResourceConfiguration | None = None
    """Machines that are asked for."""
    environment_id: str | None = None
    """Azure's name of a software environment."""
    environment_variables: Texts = {}
    """Variables of the environment."""
    identity: Identity | None = None
    """As whom data are read."""
    queue_settings: QueueSettings | None = None
    """Place in a queue."""
    inputs: Annotated[dict[str, Input | str | bool | int | float], BeforeValidator(_job_inputs)] = {}
    """Not used by image jobs."""
    outputs: dict[str, Output] = {}
    """What is written; image jobs know `best_model`."""
    log_verbosity: Annotated[LogVerbosity, word(LogVerbosity)] = LogVerbosity.INFO
    """How much is logged."""
    primary_metric: Metric = InstanceSegmentationPrimaryMetrics.MEAN_AVERAGE_PRECISION
    """What the best trial is chosen by."""
    target_column_name: Annotated[str, Field(min_length=1)] | None = None
    """Column of the labels."""
    training_data: Data | None = None
    """Labelled pictures to train on."""
    validation_data: Data | None = None
    """Labelled pictures to choose the best model by."""
    validation_data_size: Share | None = None
    """Share of the training data that is split off for validation; 0.2 if there are no validation data."""
    test_data: Data | None = None
    """Labelled pictures for the final numbers."""
    test_data_size: Share | None = None
    """Share of the training data that is split off for the final numbers."""
    limits: ImageLimitSettings = Field(default_factory=ImageLimitSettings)
    """What the sweep may spend."""
    sweep: ImageSweepSettings | None = None
    """How the sweep samples."""
    training_parameters: Annotated[TrainingSettings | None, BeforeValidator(_set_only)] = None
    """What is fixed for every trial."""
    search_space: Spaces = None
    """What trials draw from: a list of sub-spaces."""
    id: str | None = None
    """A server's id of the job."""
    status: str | None = None
    """Where a server is with the job."""
    creation_context: dict[str, JsonValue] | None = None
    """Who submitted the job, and when."""
    services: dict[str, JsonValue] | None = None
    """Addresses that a server opened for the job."""
    log_files: dict[str, str] | None = None
    """Addresses of logs by name."""
