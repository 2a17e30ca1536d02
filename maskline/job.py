"""The job: what a user asks for, as data. It needs neither torch nor kfp, and round-trips through YAML.

job = automl.image_instance_segmentation(
    training_data=Input(type="mltable", path="./data/train"), target_column_name="label"
)
job.set_training_parameters(number_of_epochs=20)
job.dump("job.yaml")
assert load_job("job.yaml") == job
"""

import inspect
import os
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Any, NoReturn

from pydantic import PrivateAttr

from .errors import JobError
from .inputs import Input
from .job_fields import TEXTS, InstanceSegmentationPrimaryMetrics, JobFields, TaskType, as_texts
from .job_yaml import Source, from_yaml, read_source, to_yaml, write_dest
from .readiness import problems
from .rules import Part, nearest_name, show
from .search_space import SearchSpace
from .settings import TrainingSettings
from .sweep import EarlyTerminationPolicy, SamplingAlgorithm
from .words import Word

READ_ONLY: Mapping[str, str] = {
    "base_path": "it is where load_job found the file, or base_path= of the constructor",
    "creation_context": "a server tells it of a submitted job",
    "id": "a server tells it of a submitted job",
    "log_files": "a server tells them of a submitted job",
    "services": "a server tells them of a submitted job",
    "status": "a server tells it of a submitted job",
    "studio_url": "a server tells it of a submitted job",
    "type": "every job of Maskline's is of type automl",
}

PLACED: Mapping[str, tuple[str, ...]] = {
    "resources": ("instance_type", "instance_count", "shm_size"),
    "queue_settings": ("priority",),
}
"""What of a job's words on machines a cluster file gives a meaning."""


class ImageInstanceSegmentationJob(JobFields):
    """A job that finds the best instance segmentation model that a budget of trials buys.

    Everything given is checked at once, against types, words, names and ranges; what can't be run, or not
    yet, is told by `problems`. Two jobs are equal when the user set the same in both, wherever they lie.

    Raises:
        JobError: something given is wrong; a KeywordError (a TypeError too) if a name doesn't exist.
    """

    _base_path: str = PrivateAttr()

    def __init__(
        self,
        *,
        primary_metric: str | InstanceSegmentationPrimaryMetrics | None = None,
        base_path: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"primary_metric": primary_metric, **kwargs})
        self._base_path = str(Path(os.path.expanduser(base_path or ".")).absolute())

    @classmethod
    def _knows(cls, name: str) -> bool:
        return name in cls.model_fields or name == "task"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in READ_ONLY:
            raise AttributeError(f"{name} is read-only: {READ_ONLY[name]}")
        if not name.startswith("_") and name not in type(self).model_fields:
            raise AttributeError(f"a job has no {name}; {nearest_name(name, type(self).model_fields)}")
        if value is None and name in type(self).model_fields:
            value = type(self).model_fields[name].get_default(call_default_factory=True)
            super().__setattr__(name, value)
            self.model_fields_set.discard(name)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{name} can't be deleted; set it to None")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ImageInstanceSegmentationJob) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"ImageInstanceSegmentationJob.from_dict({self.to_dict()})"

    @property
    def base_path(self) -> str:
        """Folder that relative data paths start from: that of the job file, else the current one."""
        return self._base_path

    @property
    def studio_url(self) -> str | None:
        """Address of the job in a server's user interface."""
        studio = (self.services or {}).get("Studio")
        endpoint = studio.get("endpoint") if isinstance(studio, dict) else None
        return endpoint if isinstance(endpoint, str) else None

    def set_data(
        self,
        *,
        training_data: Input,
        target_column_name: str,
        validation_data: Input | None = None,
        validation_data_size: float | None = None,
    ) -> None:
        """Set what to learn from; None leaves what was set before.

        Args:
            training_data: labelled pictures to train on.
            target_column_name: column of the labels.
            validation_data: labelled pictures to choose the best model by.
            validation_data_size: share of the training data that is split off instead, in (0, 1).
        """
        self._set(
            training_data=training_data,
            target_column_name=target_column_name,
            validation_data=validation_data,
            validation_data_size=validation_data_size,
        )

    def set_limits(
        self,
        *,
        max_concurrent_trials: int | None = None,
        max_trials: int | None = None,
        timeout_minutes: int | timedelta | None = None,
        trial_timeout_minutes: int | timedelta | None = None,
        max_process_deaths: int | None = None,
        **unknown: Any,
    ) -> None:
        """Set what the sweep may spend; None leaves what was set before.

        Args:
            max_concurrent_trials: trials at a time, 1 to 100.
            max_trials: trials in all, 1 to 1000.
            timeout_minutes: minutes for the whole job, 1 to 86400.
            trial_timeout_minutes: minutes for a single trial, 1 to 86400; Maskline's own.
            max_process_deaths: a trial whose process was killed this often has failed; Maskline's own.
            **unknown: refused, with the name that was meant.
        """
        given = {
            "max_concurrent_trials": max_concurrent_trials,
            "max_trials": max_trials,
            "timeout_minutes": timeout_minutes,
            "trial_timeout_minutes": trial_timeout_minutes,
            "max_process_deaths": max_process_deaths,
        }
        self.limits = {**self.limits.plain(), **_given(given), **unknown}  # type: ignore[assignment]

    def set_sweep(
        self,
        *,
        sampling_algorithm: str | SamplingAlgorithm | Part | Mapping[str, Any],
        early_termination: EarlyTerminationPolicy | Mapping[str, Any] | None = None,
    ) -> None:
        """Set how the sweep samples; None leaves the policy that was set before.

        Args:
            sampling_algorithm: `random`, `grid` or `bayesian`.
            early_termination: when a trial that does badly is ended.
        """
        before = self.sweep.early_termination if self.sweep else None
        policy = before if early_termination is None else early_termination
        given = {"sampling_algorithm": sampling_algorithm, "early_termination": policy}
        self.sweep = given  # type: ignore[assignment]

    def set_training_parameters(self, **parameters: Any) -> None:
        """Fix training parameters for all trials; None leaves what was set before.

        Args:
            **parameters: the fields of `TrainingSettings`, which gives their ranges and meanings.
        """
        self.training_parameters = {
            **self.fixed_settings(),
            **_given(parameters, TrainingSettings.model_fields),
        }  # type: ignore[assignment]

    def extend_search_space(
        self, value: SearchSpace | Mapping[str, Any] | Sequence[SearchSpace | Mapping[str, Any]]
    ) -> None:
        """Add sub-spaces to what trials draw from.

        Args:
            value: one sub-space or several.
        """
        more = [value] if isinstance(value, SearchSpace | Mapping) else value
        if not isinstance(more, Sequence) or isinstance(more, str):
            raise JobError(
                f"search_space={show(value)} is not a list of sub-spaces; give a list of SearchSpace"
            )
        self.search_space = [*(self.search_space or []), *more]  # type: ignore[list-item]

    def fixed_settings(self) -> dict[str, Any]:
        """The training parameters that the user set, as plain data."""
        if self.training_parameters is None:
            return {}
        return self.training_parameters.model_dump(mode="json", exclude_unset=True, exclude_none=True)

    @property
    def automode(self) -> bool:
        """Whether Maskline chooses what the trials try: several trials, and nothing said of them."""
        return self.limits.max_trials > 1 and not self.search_space and self.sweep is None

    def to_dict(self) -> dict[str, Any]:
        """What the user set, as plain data in Azure's YAML schema; enumerations are words."""
        found: dict[str, Any] = {"type": self.type, "task": self.task_type.value}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if (
                name in found
                or name == "task_type"
                or (isinstance(value, Word) and name not in self.model_fields_set)
            ):
                continue
            if name == "training_parameters":
                plain: Any = self.fixed_settings()
            else:
                plain = as_texts(value) if name in TEXTS else _plain(value)
            if plain is not None and plain not in ({}, []):
                found[name] = plain
        return found

    @classmethod
    def from_dict(
        cls, data: Mapping[str, Any], base_path: str | os.PathLike[str] | None = None
    ) -> "ImageInstanceSegmentationJob":
        """The inverse of `to_dict`; `$schema` is skipped, everything else is checked.

        Args:
            data: plain data in the schema of Azure's CLI v2.
            base_path: folder that relative data paths start from; the current one if left out.

        Raises:
            JobError: something is wrong or missing; all of it at once.
        """
        found: list[str] = []
        for key, legal in (("type", "automl"), ("task", TaskType.IMAGE_INSTANCE_SEGMENTATION.value)):
            if data.get(key) is None:
                found.append(f"{key} is missing; write {key}: {legal}")
        values = {str(k): v for k, v in data.items() if k not in ("$schema", "base_path", "primary_metric")}
        if "base_path" in data:
            found.append("base_path can't be given in a file: paths are relative to the file; remove it")
        try:
            job = cls(primary_metric=data.get("primary_metric"), base_path=base_path, **values)
        except JobError as error:
            raise type(error)([*found, *error.problems]) from None
        if found:
            raise JobError(found)
        return job

    def dump(self, dest: str | os.PathLike[str] | IO[str] | IO[bytes]) -> None:
        """Write the job as YAML: what the user set, and data paths as the user gave them.

        Relative data paths then start from the folder of the new file.

        Args:
            dest: path of a file that doesn't exist yet, or a stream.

        Raises:
            FileExistsError: the file exists.
            OSError: the folder doesn't exist, or the stream can't be written.
        """
        write_dest(to_yaml(self.to_dict()), dest)

    def problems(self, check_data: bool = True) -> list[str]:
        """Why the job can't run, one line a reason; empty if it can.

        Args:
            check_data: also look whether data on this machine exist.
        """
        return problems(self, check_data)

    def unread(self, placed: bool = False) -> list[str]:
        """Fields that are set and that no stage reads yet: they are kept, and nothing depends on them.

        Args:
            placed: a cluster file gives `compute`, `resources` and `queue_settings` their meaning.
        """
        placing = ("compute", "resources", "queue_settings")
        unread = [*(() if placed else placing), "identity", "environment_id", "outputs", "log_verbosity"]
        found = [name for name in unread if name in self.model_fields_set]
        for name, read in PLACED.items() if placed else ():
            part = getattr(self, name)
            found += [f"{name}.{key}" for key in (part.plain() if part else ()) if key not in read]
        return found

    def validate(self, check_data: bool = True) -> None:  # type: ignore[override]
        """Refuse a job that can't run.

        Args:
            check_data: also look whether data on this machine exist.

        Raises:
            JobError: with every reason.
        """
        if found := self.problems(check_data):
            raise JobError(found)

    def _set(self, **values: Any) -> None:
        """Set all or nothing, and tell every problem."""
        given = _given(values)
        data = {**{k: getattr(self, k) for k in self.model_fields_set - given.keys()}, **given}
        type(self)(**data)
        for name, value in given.items():
            setattr(self, name, value)


def _given(values: Mapping[str, Any], known: Any = None) -> dict[str, Any]:
    """Without those that are None; a name that isn't known stays, to be refused."""
    return {k: v for k, v in values.items() if v is not None or (known is not None and k not in known)}


def _plain(value: Any) -> Any:
    if isinstance(value, Part | SearchSpace):
        return value.plain()
    if isinstance(value, Word):
        return value.value
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def load_job(source: Source) -> ImageInstanceSegmentationJob:
    """Read a job from YAML in the schema of Azure's CLI v2.

    Args:
        source: path of the file, whose folder relative data paths start from, or a stream.

    Raises:
        JobError: there is no such file, or something in it is wrong; all of it at once.
    """
    text, base_path = read_source(source)
    return ImageInstanceSegmentationJob.from_dict(from_yaml(text), base_path)


def load_sound_job(source: Source, check_data: bool = True) -> ImageInstanceSegmentationJob:
    """Read a job that can run: `load_job` and `validate` in one, with the problems of both at once.

    Args:
        source: as `load_job` takes it.
        check_data: also look whether data on this machine exist.

    Raises:
        JobError: everything that is wrong in the file, and all else that keeps the rest of it from running.
    """
    text, base_path = read_source(source)
    data = from_yaml(text)
    try:
        job = ImageInstanceSegmentationJob.from_dict(data, base_path)
    except JobError as error:
        raise type(error)([*error.problems, *_of_the_rest(data, base_path, error, check_data)]) from None
    job.validate(check_data)
    return job


def _of_the_rest(data: Mapping[str, Any], base_path: Path, error: JobError, check_data: bool) -> list[str]:
    """What keeps a job from running beside what is wrong in its file: problems of all that is not wrong."""
    rest = {key: dict(value) if isinstance(value, Mapping) else value for key, value in data.items()}
    wrong = set()
    for problem in error.problems:
        key, *inner = re.split(r"[.\[=\s]", problem, maxsplit=2)
        part = rest.get(key)
        if isinstance(part, dict) and inner and inner[0] in part:
            del part[inner[0]]
            wrong.add(inner[0])
        else:
            rest.pop(key, None)
            wrong.add(key)
    try:
        job = ImageInstanceSegmentationJob.from_dict(rest, base_path)
    except JobError:
        return []
    # What is said of a name that was taken out would be said of its absence.
    return [line for line in job.problems(check_data) if not any(name in line for name in wrong)]


def _signature() -> inspect.Signature:
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    knobs = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=field.annotation)
        for name, field in TrainingSettings.model_fields.items()
    ]
    return inspect.Signature([own, *knobs], return_annotation=None)


setattr(ImageInstanceSegmentationJob.set_training_parameters, "__signature__", _signature())  # noqa: B010
