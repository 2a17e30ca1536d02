import copy
import inspect
import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

import maskline
from maskline import Input, Output, automl, load_job
from maskline.entities import (
    AmlTokenConfiguration,
    JobResourceConfiguration,
    ManagedIdentityConfiguration,
    QueueSettings,
)
from maskline.errors import JobError, KeywordError
from maskline.job import ImageInstanceSegmentationJob
from maskline.search_space import Choice, SearchSpace, Uniform
from maskline.settings import TrainingSettings
from maskline.sweep import BanditPolicy, ImageLimitSettings, ImageSweepSettings, MedianStoppingPolicy

TRAIN = Input(type="mltable", path="./train")


def test_a_new_job_has_azures_defaults() -> None:
    job = ImageInstanceSegmentationJob()
    assert (job.type, job.task_type) == ("automl", "image_instance_segmentation")
    assert (job.log_verbosity, job.primary_metric) == ("info", "mean_average_precision")
    assert job.base_path == str(Path.cwd())
    assert job.inputs == job.outputs == job.tags == job.properties == job.environment_variables == {}
    assert job.limits == ImageLimitSettings()
    for name in [
        "creation_context",
        "id",
        "log_files",
        "search_space",
        "status",
        "studio_url",
        "sweep",
        "test_data",
        "training_data",
        "training_parameters",
        "validation_data",
        "validation_data_size",
        "target_column_name",
        "compute",
        "name",
        "display_name",
        "experiment_name",
        "description",
        "resources",
        "identity",
        "queue_settings",
        "environment_id",
        "services",
    ]:
        assert getattr(job, name) is None, name
    assert job.to_dict() == {"type": "automl", "task": "image_instance_segmentation"}


@pytest.mark.parametrize(
    "name", ["base_path", "creation_context", "id", "log_files", "services", "status", "studio_url", "type"]
)
def test_read_only_attributes_say_so(name: str) -> None:
    with pytest.raises(AttributeError, match=f"{name} is read-only: "):
        setattr(ImageInstanceSegmentationJob(), name, "x")


def test_a_misspelt_attribute_is_no_new_attribute() -> None:
    with pytest.raises(AttributeError, match="a job has no trainig_data; did you mean training_data"):
        ImageInstanceSegmentationJob().trainig_data = TRAIN


def test_writable_attributes_take_objects_and_mappings() -> None:
    job = ImageInstanceSegmentationJob()
    job.limits = {"max_trials": 3}
    job.sweep = {"sampling_algorithm": "Random"}
    job.training_parameters = {"learning_rate": 0.1, "min_size": None}
    job.search_space = [SearchSpace(momentum=0.5), {"min_size": {"type": "choice", "values": [600]}}]
    job.training_data = {"type": "mltable", "path": "x"}
    job.log_verbosity = "LogVerbosity.DEBUG"
    job.outputs = {"best_model": Output(type="mlflow_model")}
    job.task_type = "ImageInstanceSegmentation"
    assert job.limits.max_trials == 3
    assert job.sweep == ImageSweepSettings(sampling_algorithm="random")
    assert job.fixed_settings() == {"learning_rate": 0.1}
    assert job.search_space[1].min_size == Choice([600])
    assert job.training_data == Input(type="mltable", path="x")
    assert job.log_verbosity == "debug"
    job.training_data = job.log_verbosity = job.limits = None
    assert job.training_data is None
    assert "log_verbosity" not in job.to_dict()
    assert job.limits.max_trials == 1


def test_none_never_overwrites() -> None:
    job = ImageInstanceSegmentationJob()
    job.set_data(training_data=TRAIN, target_column_name="label", validation_data_size=0.3)
    job.set_data(training_data=Input(path="other"), target_column_name="label")
    assert job.validation_data_size == 0.3
    job.set_limits(max_trials=5, timeout_minutes=timedelta(hours=2))
    job.set_limits(max_concurrent_trials=2, max_trials=None)
    assert job.limits.plain() == {"max_trials": 5, "max_concurrent_trials": 2, "timeout_minutes": 120}
    job.set_sweep(sampling_algorithm="random", early_termination=MedianStoppingPolicy())
    job.set_sweep(sampling_algorithm="grid")
    assert job.sweep == ImageSweepSettings(
        sampling_algorithm="grid", early_termination=MedianStoppingPolicy()
    )
    job.set_training_parameters(learning_rate=0.1, nesterov=False)
    job.set_training_parameters(learning_rate=None, min_size=700)
    assert job.fixed_settings() == {"learning_rate": 0.1, "nesterov": False, "min_size": 700}


def test_a_refused_change_changes_nothing() -> None:
    job = automl.image_instance_segmentation(training_data=TRAIN, target_column_name="label")
    before = copy.deepcopy(job)
    for change in (
        lambda: job.set_data(training_data=Input(path="x"), target_column_name="b", validation_data_size=2),
        lambda: job.set_limits(max_trials=3, max_concurrent_trials=0),
        lambda: job.set_training_parameters(min_size=3, learning_rate=3),
        lambda: job.extend_search_space([SearchSpace(), {"x": 1}]),
        lambda: setattr(job, "limits", 5),
    ):
        with pytest.raises(JobError):
            change()
    assert job == before


def test_extend_search_space_appends() -> None:
    job = ImageInstanceSegmentationJob()
    job.extend_search_space(SearchSpace(momentum=0.5))
    job.extend_search_space([SearchSpace(momentum=0.6), {"momentum": "uniform(0.1, 0.2)"}])
    assert [space.momentum for space in job.search_space] == [0.5, 0.6, Uniform(0.1, 0.2)]
    with pytest.raises(JobError, match="not a list of sub-spaces"):
        job.extend_search_space("x")


def test_help_shows_every_training_parameter() -> None:
    signature = inspect.signature(ImageInstanceSegmentationJob().set_training_parameters)
    assert list(signature.parameters) == list(TrainingSettings.model_fields)
    assert len(signature.parameters) == 45


def test_unknown_keywords_are_type_errors_that_name_the_key() -> None:
    job = ImageInstanceSegmentationJob()
    for call, words in (
        (lambda: ImageInstanceSegmentationJob(trainig_data=1), "trainig_data .* did you mean training_data"),
        (lambda: job.set_limits(max_trails=3), "limits.max_trails .* did you mean max_trials"),
        (lambda: job.set_training_parameters(epochs=3), "training_parameters.epochs .* number_of_epochs"),
        (
            lambda: automl.image_instance_segmentation(training_data=TRAIN, target_column_name="l", tag=1),
            "tags",
        ),
    ):
        with pytest.raises(TypeError, match=words) as caught:
            call()
        assert isinstance(caught.value, KeywordError)
    with pytest.raises(TypeError):
        job.set_data(training_data=TRAIN)
    with pytest.raises(TypeError):
        job.set_sweep()


def test_everything_can_be_given_to_the_constructor() -> None:
    job = ImageInstanceSegmentationJob(
        primary_metric="MeanAveragePrecision",
        limits=ImageLimitSettings(max_trials=4),
        sweep={"sampling_algorithm": "random", "early_termination": BanditPolicy(slack_factor=0.1)},
        search_space=SearchSpace(momentum=0.3),
        tags={"n": 3, "x": True},
        identity=AmlTokenConfiguration(),
        resources={"instance_type": "gpu"},
        queue_settings=QueueSettings(job_tier="Spot"),
        base_path="/jobs",
    )
    assert job.tags == {"n": "3", "x": "true"}
    assert job.base_path == "/jobs"
    assert job.to_dict()["identity"] == {"type": "aml_token"}
    assert job.to_dict()["queue_settings"] == {"job_tier": "spot"}
    assert job.resources == JobResourceConfiguration(instance_type="gpu")
    assert ImageInstanceSegmentationJob(identity={"type": "managed", "client_id": "a"}).identity == (
        ManagedIdentityConfiguration(client_id="a")
    )


def test_equality_is_what_the_user_set() -> None:
    one = automl.image_instance_segmentation(training_data=TRAIN, target_column_name="label", base_path="/a")
    two = automl.image_instance_segmentation(training_data=TRAIN, target_column_name="label", base_path="/b")
    assert one == two
    two.set_training_parameters(learning_rate=TrainingSettings().learning_rate)
    assert one != two  # a default that was set beats a search space and a model's own default
    assert one != one.to_dict()


def test_what_is_changed_in_place_is_not_lost() -> None:
    job = ImageInstanceSegmentationJob()
    job.tags["a"] = 1
    job.properties["azureml:a:1"] = "./a"
    job.limits.max_trials = 7
    assert job.to_dict()["tags"] == {"a": "1"}
    assert job.to_dict()["properties"] == {"azureml:a:1": "./a"}
    assert job.to_dict()["limits"] == {"max_trials": 7}
    assert ImageInstanceSegmentationJob.from_dict(job.to_dict()) == job
    assert ImageInstanceSegmentationJob().tags == {}


def test_what_a_server_told_is_kept() -> None:
    job = ImageInstanceSegmentationJob(
        id="x/y",
        status="Completed",
        services={"Studio": {"endpoint": "https://s"}},
        creation_context={"by": "me"},
    )
    assert (job.id, job.status, job.studio_url) == ("x/y", "Completed", "https://s")
    assert ImageInstanceSegmentationJob.from_dict(job.to_dict()) == job


def test_plain_data_survive_json() -> None:
    job = load_job(Path(__file__).parents[1] / "jobs" / "azure_explicit.yaml")
    again = ImageInstanceSegmentationJob.from_dict(json.loads(json.dumps(job.to_dict())), base_path="/x")
    assert again == job
    assert again.base_path == "/x"
    assert copy.deepcopy(job) == job


def test_the_public_face() -> None:
    assert all(hasattr(maskline, name) for name in maskline.__all__)  # read when they are asked for
    named = {n for n, v in vars(maskline).items() if not inspect.ismodule(v) and not n.startswith("_")}
    modules = {"automl", "constants", "entities", "sweep"}
    assert set(maskline.__all__) == named | modules | {"__version__"}
    assert all(hasattr(automl, name) for name in automl.__all__)


def test_describing_a_job_needs_neither_torch_nor_kfp() -> None:
    code = (
        "import sys, maskline\n"
        "job = maskline.automl.image_instance_segmentation("
        "training_data=maskline.Input(path='x'), target_column_name='label')\n"
        "job.problems()\n"
        "heavy = {'torch', 'torchvision', 'kfp', 'optuna', 'kubernetes', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
