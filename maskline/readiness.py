"""Why a job can't run: everything that is legal in the vocabulary and can't be done, or not yet."""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .addresses import local_path
from .archives import is_archive
from .inputs import Input, data_problems, resolve
from .rules import Rule, join, lines, show
from .search_space import Choice, Distribution, LogUniform, Randint, SearchSpace, Uniform
from .settings import TrainingSettings, complete, obstacles
from .sweep import RandomSamplingAlgorithm

if TYPE_CHECKING:
    from .job import ImageInstanceSegmentationJob

_CROSSED = ("model_name", "model_size", "optimizer", "momentum", "nesterov", "min_size", "max_size")
"""Parameters whose values are legal one by one and can be impossible together."""
_MOST_COMBINATIONS = 2000


def problems(job: "ImageInstanceSegmentationJob", check_data: bool = True) -> list[str]:
    """Why a job can't run, one line a reason; empty if it can.

    Args:
        job: the job.
        check_data: also look whether data on this machine exist.
    """
    found = [
        *_data(job, check_data),
        *_environment(job),
        *_outputs(job),
        *_sweep(job),
        *_metrics(job),
        *_settings(job),
    ]
    return list(dict.fromkeys(found))


def elsewhere(job: "ImageInstanceSegmentationJob") -> list[str]:
    """Places of data that are not on this machine, so that nothing is known of them before a run."""
    given = (job.training_data, job.validation_data, job.test_data)
    found = [resolve(data, job.base_path, job.properties) for data in given if data is not None]
    return [place for place in found if local_path(place) is None]


def _environment(job: "ImageInstanceSegmentationJob") -> Iterator[str]:
    for name, value in job.environment_variables.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            yield (
                f"environment_variables.{name} is no name of an environment variable; use letters, digits "
                "and _, and no digit first"
            )
        if "{{" in value:
            yield f"environment_variables.{name}: KFP takes {{{{ for a placeholder of its own; leave it out"


def _data(job: "ImageInstanceSegmentationJob", check: bool) -> Iterator[str]:
    if job.training_data is None:
        yield "training_data is missing; say where the labelled pictures are"
    if job.target_column_name is None:
        yield "target_column_name is missing; name the column that holds the labels, e.g. label"
    if job.validation_data is not None and job.validation_data_size is not None:
        yield (
            f"validation_data_size={job.validation_data_size:g} splits the training data, and "
            "validation_data is given too; remove one of them"
        )
    if job.test_data is not None and job.test_data_size is not None:
        yield (
            f"test_data_size={job.test_data_size:g} splits the training data, and test_data is given too; "
            "remove one of them"
        )
    shares = (job.validation_data_size or 0, job.test_data_size or 0)
    if sum(shares) >= 1:
        yield (
            f"validation_data_size={shares[0]:g} and test_data_size={shares[1]:g} leave nothing to train on; "
            "their sum must be below 1"
        )
    for name in ("training_data", "validation_data", "test_data"):
        data = getattr(job, name)
        if data is not None:
            found = data_problems(data, job.base_path, job.properties, look=check)
            yield from (join(name, line) for line in found)
            if not found and _must_be_copied(job, data):
                yield (
                    "advanced_settings.materialise=false leaves pictures where they lie, and those of "
                    f"{name} are not on this machine or in an archive; leave it out"
                )
    if job.inputs:
        yield f"inputs={show(sorted(job.inputs))} can't be honoured: no stage reads them; remove inputs"


def _must_be_copied(job: "ImageInstanceSegmentationJob", data: Input) -> bool:
    try:
        wanted = complete(job.fixed_settings()).advanced.materialise
    except ValidationError:
        return False  # which is told elsewhere
    where = resolve(data, job.base_path, job.properties)
    return wanted is False and (local_path(where) is None or is_archive(where))


def _outputs(job: "ImageInstanceSegmentationJob") -> Iterator[str]:
    for name, output in job.outputs.items():
        place = f"outputs.{name}"
        if name != "best_model":
            yield f"{place} can't be honoured: an image job has one output, best_model; remove it"
        elif output.type != "mlflow_model":
            yield f"{place}.type={output.type} can't be honoured; the type of a best model is mlflow_model"
        for field in ("path", "name", "version"):
            if (value := getattr(output, field)) is not None:
                yield (
                    f"{place}.{field}={show(value)} can't be honoured yet: models are written into the run "
                    "directory; remove it"
                )
    machines = job.resources.instance_count if job.resources else None
    if machines is not None and machines > 1:
        yield (
            f"resources.instance_count={machines} can't be honoured: a trial trains on one machine; "
            "remove it, and raise limits.max_concurrent_trials to use more machines"
        )


def _sweep(job: "ImageInstanceSegmentationJob") -> Iterator[str]:
    if job.sweep is None:
        return
    sampling = job.sweep.sampling_algorithm
    if isinstance(sampling, RandomSamplingAlgorithm) and sampling.logbase not in (None, "e", math.e):
        yield (
            f"sweep.sampling_algorithm.logbase={sampling.logbase} can't be honoured: bounds of log forms are "
            "natural logarithms; remove it"
        )
    if job.sweep.warm_start_from is not None and job.sweep.algorithm != "bayesian":
        yield (
            f"sweep.warm_start_from={job.sweep.warm_start_from} can't be honoured: only bayesian sampling "
            f"learns from former trials, and sampling_algorithm is {job.sweep.algorithm}; remove it"
        )
    if job.sweep.algorithm == "grid":
        for index, space in enumerate(job.search_space or ()):
            for name, knob in space.knobs.items():
                if isinstance(knob, Distribution) and not isinstance(knob, Choice | Randint):
                    yield (
                        f"search_space[{index}].{name}={knob} has no list of values for a grid; give "
                        "choice(…) of some values, or take sampling_algorithm: random or bayesian"
                    )
    types = _swept(job, "validation_metric_type")
    if job.sweep.early_termination is not None and "none" in types:
        yield (
            "sweep.early_termination has nothing to go by: validation_metric_type=none measures the last "
            "epoch alone; remove one of them"
        )
    if not job.search_space:
        yield (
            "sweep has nothing to sample from: search_space is missing; give one, or remove sweep too: "
            "AutoMode then chooses what to try, how, and what ends early"
        )


def _metrics(job: "ImageInstanceSegmentationJob") -> Iterator[str]:
    """Whether all trials are measured alike."""
    types = _swept(job, "validation_metric_type")
    for name, asked in (
        ("validation_metric_type", types),
        ("validation_iou_threshold", _swept(job, "validation_iou_threshold")),
    ):
        if len(asked) > 1 and (asked is types or any("voc" in str(one) for one in types)):
            yield (
                f"search_space has {name}={' and '.join(map(str, asked))}: scores of different metrics "
                "don't say which trial is the best; fix it in training_parameters"
            )


def _swept(job: "ImageInstanceSegmentationJob", name: str) -> list[Any]:
    """The values that a setting can have in the trials of a job; of a range, its ends."""
    fixed = job.fixed_settings()
    found = []
    for space in job.search_space or [SearchSpace()]:
        knob = fixed.get(name, space.knobs.get(name, TrainingSettings.model_fields[name].default))
        if isinstance(knob, Distribution) and not isinstance(knob, Choice):
            found += list(knob.bounds() or ())
        else:
            found += _values(name, knob)
    return list(dict.fromkeys(found))


def _settings(job: "ImageInstanceSegmentationJob") -> Iterator[str]:
    fixed = job.fixed_settings()
    alone = _obstacles(fixed)
    if not job.search_space:
        yield from (f"training_parameters.{line}" for line in alone)
    for index, space in enumerate(job.search_space or ()):
        place = f"search_space[{index}]"
        yield from (f"{place}.{line}" for line in _knobs(space, fixed))
        for line in dict.fromkeys(line for point in _points(space, fixed) for line in _obstacles(point)):
            is_fixed = line in alone and re.split(r"\W", line)[0] in fixed
            yield f"training_parameters.{line}" if is_fixed else f"{place}.{line}"


def _knobs(space: SearchSpace, fixed: Mapping[str, Any]) -> Iterator[str]:
    """What is wrong with single parameters of a sub-space."""
    for name, _knob in space.knobs.items():
        if name in fixed:
            yield (
                f"{name} is also fixed in training_parameters ({name}={show(fixed[name])}), "
                "which would win; remove one of them"
            )


def _obstacles(values: Mapping[str, Any]) -> list[str]:
    try:
        return obstacles(complete(values))
    except ValidationError as error:
        return lines(error, TrainingSettings)


def _points(space: SearchSpace, fixed: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Points that show all that is impossible: every value once, and the crossed ones together."""
    free = {name: _values(name, knob) for name, knob in space.knobs.items() if name not in fixed}
    values = {name: some for name, some in free.items() if some}
    base = {name: some[0] for name, some in values.items()} | dict(fixed)
    yield base
    yield from ({**base, name: one} for name, some in values.items() for one in some[1:])
    crossed = {name: values[name] for name in _CROSSED if name in values}
    combinations = itertools.islice(itertools.product(*crossed.values()), _MOST_COMBINATIONS)
    yield from ({**base, **dict(zip(crossed, some, strict=True))} for some in combinations)


def _values(name: str, knob: Any) -> list[Any]:
    """The values of a parameter that are worth a look; none, where the default stands for them."""
    if isinstance(knob, Choice):
        return list(knob.values)
    if not isinstance(knob, Distribution):
        return [knob]
    ends = knob.bounds()
    if ends is None:
        return []
    if isinstance(knob, Uniform | LogUniform):
        return [sum(ends) / 2]  # a draw never meets its ends
    rule = Rule.of(TrainingSettings.model_fields[name])
    return [rule.nearest(round(end)) if rule.kind == "int" else end for end in ends]
