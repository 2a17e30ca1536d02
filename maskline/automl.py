"""Azure's `automl` module, as far as it concerns instance segmentation: the factory and its vocabulary."""

from typing import Any

from .inputs import Input
from .job import ImageInstanceSegmentationJob
from .job_fields import InstanceSegmentationPrimaryMetrics, LogVerbosity
from .search_space import SearchSpace
from .settings import (
    LearningRateScheduler,
    LogTrainingMetrics,
    LogValidationLoss,
    ModelSize,
    StochasticOptimizer,
    TrainingSettings,
    ValidationMetricType,
)
from .sweep import ImageLimitSettings, ImageSweepSettings, SamplingAlgorithm

__all__ = [
    "ImageInstanceSegmentationJob",
    "ImageLimitSettings",
    "ImageModelSettingsObjectDetection",
    "ImageObjectDetectionSearchSpace",
    "ImageSweepSettings",
    "InstanceSegmentationPrimaryMetrics",
    "LearningRateScheduler",
    "LogTrainingMetrics",
    "LogValidationLoss",
    "LogVerbosity",
    "ModelSize",
    "ObjectDetectionPrimaryMetrics",
    "SamplingAlgorithm",
    "SamplingAlgorithmType",
    "SearchSpace",
    "StochasticOptimizer",
    "TrainingSettings",
    "ValidationMetricType",
    "image_instance_segmentation",
]

ImageModelSettingsObjectDetection = TrainingSettings
ImageObjectDetectionSearchSpace = SearchSpace
ObjectDetectionPrimaryMetrics = InstanceSegmentationPrimaryMetrics
SamplingAlgorithmType = SamplingAlgorithm


def image_instance_segmentation(
    *,
    training_data: Input,
    target_column_name: str,
    primary_metric: str | InstanceSegmentationPrimaryMetrics | None = None,
    validation_data: Input | None = None,
    validation_data_size: float | None = None,
    **kwargs: Any,
) -> ImageInstanceSegmentationJob:
    """A job for instance segmentation.

    Args:
        training_data: labelled pictures to train on.
        target_column_name: column of the labels.
        primary_metric: what the best trial is chosen by; `mean_average_precision`.
        validation_data: labelled pictures to choose the best model by.
        validation_data_size: share of the training data that is split off instead, in (0, 1).
        **kwargs: further fields of `ImageInstanceSegmentationJob`, e.g. `experiment_name` or `tags`.

    Raises:
        JobError: something given is wrong.
    """
    return ImageInstanceSegmentationJob(
        primary_metric=primary_metric,
        training_data=training_data,
        target_column_name=target_column_name,
        validation_data=validation_data,
        validation_data_size=validation_data_size,
        **kwargs,
    )
