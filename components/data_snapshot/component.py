"""The door of data_snapshot."""

from typing import NamedTuple

from kfp import dsl

from maskline.images import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def data_snapshot(
    job: str, training_data: str, validation_data: str, test_data: str, data_version: str
) -> NamedTuple("Outputs", [("data_job", str), ("digest", str)]):  # type: ignore[valid-type]
    """Say in one short text what the data are just now, so that KFP's cache knows unchanged data.

    Args:
        job: the packed job.
        training_data: path or URI; takes the place of the job's.
        validation_data: the same; empty to split the training data.
        test_data: the same; empty for none.
        data_version: any text that stands for the data; they aren't looked at then. Empty to look.

    Returns:
        The part of the job that data_preparation reads, packed, and the digest of the data.
    """
    from maskline.components.data_snapshot.snapshot import snapshot_job
    from maskline.stages import pack, stage

    with stage("data_snapshot", job) as description:
        places = {"train": training_data, "validation": validation_data, "test": test_data}
        part, digest = snapshot_job(description, places, data_version)
        return pack(part), digest
