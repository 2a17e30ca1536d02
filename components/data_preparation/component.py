"""The door of data_preparation."""

from kfp import dsl

from maskline.images import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def data_preparation(
    job: str,
    training_data: str,
    validation_data: str,
    test_data: str,
    digest: str,
    prepared: dsl.Output[dsl.Dataset],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Read, check and split the annotated pictures.

    Args:
        job: the packed job, of which the part suffices that data_snapshot hands over.
        training_data: path or URI; takes the place of the job's.
        validation_data: the same; empty to split the training data.
        test_data: the same; empty for none.
        digest: what data_snapshot says of the data. Nothing is done with it: KFP's cache takes an earlier
            result where it is the same, and forgets it where the data behind an unchanged path are others.
        prepared: the prepared data set.
        report: what the data hold and what was wrong with them, as a page.
    """
    from pathlib import Path

    from maskline.components.data_preparation.prepare_job import prepare_job
    from maskline.components.data_preparation.report import write_report
    from maskline.stages import stage

    with stage("data_preparation", job) as description:
        found = prepare_job(description, training_data, validation_data, test_data, prepared.path)
        prepared.metadata["digest"] = found.digest
        write_report(found, Path(report.path))
