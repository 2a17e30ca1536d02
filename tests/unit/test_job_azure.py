"""A script for Azure's SDK runs with its import lines changed, and what Azure lets pass is refused."""

import io

import pytest

from maskline import Input, automl, load_job
from maskline.errors import JobError
from maskline.job import ImageInstanceSegmentationJob

SCRIPT = """
from azure.ai.ml import Input, Output, automl, load_job
from azure.ai.ml import ManagedIdentityConfiguration
from azure.ai.ml.automl import (
    ImageInstanceSegmentationJob, ImageLimitSettings, ImageModelSettingsObjectDetection,
    ImageObjectDetectionSearchSpace, ImageSweepSettings, InstanceSegmentationPrimaryMetrics,
    LearningRateScheduler, LogTrainingMetrics, LogValidationLoss, ObjectDetectionPrimaryMetrics,
    SamplingAlgorithmType, SearchSpace, StochasticOptimizer, ValidationMetricType,
)
from azure.ai.ml.constants import AssetTypes, InputOutputModes
from azure.ai.ml.entities import JobResourceConfiguration, QueueSettings, ResourceConfiguration
from azure.ai.ml.sweep import (
    BanditPolicy, BayesianSamplingAlgorithm, Choice, GridSamplingAlgorithm, LogNormal, LogUniform,
    MedianStoppingPolicy, Normal, QLogNormal, QLogUniform, QNormal, QUniform, Randint,
    RandomSamplingAlgorithm, SamplingAlgorithm, TruncationSelectionPolicy, Uniform,
)

train = Input(type=AssetTypes.MLTABLE, path="./data/training-mltable-folder")
valid = Input(type=AssetTypes.MLTABLE, path="./data/validation-mltable-folder", mode=InputOutputModes.DIRECT)

job = automl.image_instance_segmentation(
    compute="gpu-cluster",
    experiment_name="dpv2-image-instance-segmentation-experiment",
    training_data=train,
    validation_data=valid,
    target_column_name="label",
    primary_metric=InstanceSegmentationPrimaryMetrics.MEAN_AVERAGE_PRECISION,
    tags={"my_custom_tag": "My custom value"},
    properties={"enable_code_generation": True},
)
job.set_limits(timeout_minutes=60, max_trials=10, max_concurrent_trials=2)
job.set_training_parameters(
    early_stopping=1,
    evaluation_frequency=1,
    optimizer=StochasticOptimizer.ADAMW,
    learning_rate_scheduler=LearningRateScheduler.WARMUP_COSINE,
    validation_metric_type=ValidationMetricType.COCO_VOC,
    log_training_metrics=LogTrainingMetrics.DISABLE,
    log_validation_loss=LogValidationLoss.ENABLE,
    advanced_settings='{"apply_automl_train_augmentations": true}',
)
job.extend_search_space(
    [
        SearchSpace(
            model_name=Choice(["maskrcnn_resnet50_fpn"]),
            learning_rate=Uniform(0.0001, 0.001),
            warmup_cosine_lr_warmup_epochs=Choice([0, 3]),
            min_size=Choice([600, 800]),
        ),
        ImageObjectDetectionSearchSpace(
            model_name=Choice(values=["maskrcnn_resnet101_fpn"]),
            learning_rate=LogUniform(min_value=-9, max_value=-4),
            number_of_epochs=QUniform(10, 40, 5),
            layers_to_freeze=Randint(upper=4),
            momentum=Normal(mu=0.9, sigma=0.02),
        ),
    ]
)
job.set_sweep(
    sampling_algorithm=SamplingAlgorithmType.RANDOM,
    early_termination=BanditPolicy(evaluation_interval=2, slack_factor=0.2, delay_evaluation=6),
)
job.resources = JobResourceConfiguration(instance_type="Standard_NC24s_v3")
job.queue_settings = QueueSettings(job_tier="spot", priority="medium")
job.identity = ManagedIdentityConfiguration(client_id="abc")
job.outputs = {"best_model": Output(type=AssetTypes.MLFLOW_MODEL)}

other = ImageInstanceSegmentationJob(
    primary_metric=ObjectDetectionPrimaryMetrics.MEAN_AVERAGE_PRECISION,
    limits=ImageLimitSettings(max_trials=2),
    sweep=ImageSweepSettings(sampling_algorithm="Random", early_termination=MedianStoppingPolicy()),
    training_parameters=ImageModelSettingsObjectDetection(number_of_epochs=3),
)
other.set_data(training_data=train, target_column_name="label", validation_data_size=0.2)
"""


def test_a_script_needs_its_import_lines_changed_and_nothing_else() -> None:
    names: dict[str, object] = {}
    exec(SCRIPT.replace("azure.ai.ml", "maskline"), names)
    job, other = names["job"], names["other"]
    assert isinstance(job, ImageInstanceSegmentationJob)
    assert isinstance(other, ImageInstanceSegmentationJob)
    assert (job.limits.max_trials, other.limits.max_trials) == (10, 2)
    assert job.search_space[1].layers_to_freeze.upper == 4
    assert job.fixed_settings()["early_stopping"] is True
    stream = io.StringIO()
    job.dump(stream)
    stream.seek(0)
    assert load_job(stream) == job
    assert job.problems(check_data=False) == []


def new() -> ImageInstanceSegmentationJob:
    data = Input(type="mltable", path="./train")
    return automl.image_instance_segmentation(training_data=data, target_column_name="label")


PASSED_BY_AZURE = {
    "validation size 1.5": lambda job: setattr(job, "validation_data_size", 1.5),
    "validation size -1": lambda job: setattr(job, "validation_data_size", -1),
    "validation size abc": lambda job: setattr(job, "validation_data_size", "abc"),
    "negative limit": lambda job: job.set_limits(max_trials=-1),
    "limit 0": lambda job: job.set_limits(max_concurrent_trials=0),
    "limit in words": lambda job: job.set_limits(timeout_minutes="an hour"),
    "evolution": lambda job: job.set_sweep(sampling_algorithm="evolution"),
    "epochs -1": lambda job: job.set_training_parameters(number_of_epochs=-1),
    "epochs ten": lambda job: job.set_training_parameters(number_of_epochs="ten"),
    "learning rate 5": lambda job: job.set_training_parameters(learning_rate=5.0),
    "beta1 -2": lambda job: job.set_training_parameters(beta1=-2),
    "nms 9": lambda job: job.set_training_parameters(nms_iou_threshold=9),
    "batch 0": lambda job: job.set_training_parameters(training_batch_size=0),
    "workers -3": lambda job: job.set_training_parameters(number_of_workers=-3),
    "grid abc": lambda job: job.set_training_parameters(tile_grid_size="abc"),
    "scheduler poly": lambda job: job.set_training_parameters(learning_rate_scheduler="poly"),
    "optimizer lion": lambda job: job.set_training_parameters(optimizer="lion"),
    "size xlarge": lambda job: job.set_training_parameters(model_size="xlarge"),
    "metric lvis": lambda job: job.set_training_parameters(validation_metric_type="lvis"),
    "log yes": lambda job: job.set_training_parameters(log_training_metrics="yes"),
    "model of another task": lambda job: job.set_training_parameters(model_name="fasterrcnn_resnet50_fpn"),
    "grid with uniform and a policy": lambda job: (
        job.set_sweep(sampling_algorithm="grid", early_termination={"type": "bandit", "slack_factor": 0.1}),
        job.extend_search_space({"momentum": "uniform(0.1, 0.2)"}),
    ),
    "bandit with both": lambda job: job.set_sweep(
        sampling_algorithm="random",
        early_termination={"type": "bandit", "slack_factor": 0.1, "slack_amount": 0.1},
    ),
    "bandit with neither": lambda job: job.set_sweep(
        sampling_algorithm="random", early_termination={"type": "bandit"}
    ),
    "truncation 200": lambda job: job.set_sweep(
        sampling_algorithm="random",
        early_termination={"type": "truncation_selection", "truncation_percentage": 200},
    ),
    "min above max": lambda job: job.extend_search_space({"momentum": "uniform(0.3, 0.2)"}),
    "empty choice": lambda job: job.extend_search_space({"momentum": {"type": "choice", "values": []}}),
    "test data size 3": lambda job: setattr(job, "test_data_size", 3),
}


@pytest.mark.parametrize("case", PASSED_BY_AZURE)
def test_what_azures_client_lets_pass_is_refused(case: str) -> None:
    job = new()
    assert job.problems(check_data=False) == []

    def build_and_validate() -> None:
        PASSED_BY_AZURE[case](job)
        job.validate(check_data=False)

    with pytest.raises(JobError):
        build_and_validate()
