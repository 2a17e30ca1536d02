"""Prepare the data that a job names."""

from pathlib import Path

from maskline.dataset import PreparedDataset
from maskline.inputs import Input
from maskline.job import ImageInstanceSegmentationJob
from maskline.settings import complete

from .prepare import Source, prepare


def prepare_job(
    job: ImageInstanceSegmentationJob, training: str, validation: str, test: str, out: str | Path
) -> PreparedDataset:
    """Prepare a job's data.

    Args:
        job: says how the data are laid out, how to split them, and how many bad records to bear.
        training: path or URI of the training data.
        validation: the same; empty to hold out a part of the training data.
        test: the same; empty for none.
        out: folder to write.

    Raises:
        DataError: see `prepare`.
    """
    settings = complete(job.fixed_settings())
    return prepare(
        _source(training, job.training_data),
        # A path that a scheduler gives for data the job doesn't name is laid out as the training data are.
        _source(validation, job.validation_data or job.training_data) if validation else None,
        _source(test, job.test_data or job.training_data) if test else None,
        out=out,
        label_column=job.target_column_name or "label",
        validation_size=job.validation_data_size,
        test_size=job.test_data_size,
        seed=settings.random_seed,
        max_bad_fraction=settings.advanced.max_bad_fraction,
        verify=settings.advanced.verify,
        materialise=settings.advanced.materialise,
        properties=job.properties,
    )


def _source(path: str, described: Input | None) -> Source:
    return Source(path, str(described.type) if described else "uri_folder")
