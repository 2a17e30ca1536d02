"""Prepare the data that a job names."""

from pathlib import Path

from maskline.data_job import kind_of
from maskline.dataset import PreparedDataset
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
        Source(training, kind_of(job, "train")),
        Source(validation, kind_of(job, "validation")) if validation else None,
        Source(test, kind_of(job, "test")) if test else None,
        out=out,
        label_column=job.target_column_name or "label",
        validation_size=job.validation_data_size,
        test_size=job.test_data_size,
        seed=settings.random_seed,
        max_bad_fraction=settings.advanced.max_bad_fraction,
        verify=settings.advanced.verify,
        materialise=settings.advanced.materialise,
        group_column=settings.advanced.group_column,
        properties=job.properties,
    )
