"""Read the study, choose, hand over."""

import json
from collections.abc import Sequence
from pathlib import Path

from maskline import storage
from maskline.artifacts import MODEL_FOLDER, TrialRecord
from maskline.dataset import PreparedDataset
from maskline.errors import StageError
from maskline.job import ImageInstanceSegmentationJob
from maskline.metrics import primary_name
from maskline.settings import complete
from maskline.study import open_study, read_trials

from .select import select


def select_best(
    job: ImageInstanceSegmentationJob,
    outcomes: Sequence[str],
    run: Path,
    prepared: Path,
    leaderboard: Path,
    model: Path,
    *,
    copies: str = "",
) -> TrialRecord:
    """Choose the best trial of a run; its model goes to the next stages and into the run directory.

    Args:
        job: says which metric counts.
        outcomes: what the slots returned: a trial's record as JSON, or null.
        run: the run directory.
        prepared: the prepared data set, for the names of the classes.
        leaderboard: folder to write the table of all trials to.
        model: folder to write the best trial's model to.
        copies: URI where the run is kept, if its directory doesn't outlive the pod.

    Raises:
        StageError: a trial that a slot reported is not in the study: the slots saw another run directory.
        NoModelError: no trial has a model.
    """
    trials = read_trials(open_study(run, copies=copies))
    reported = {trial["number"] for outcome in outcomes if (trial := json.loads(outcome)) is not None}
    if lost := reported - {trial.number for trial in trials}:
        raise StageError(
            f"trials {sorted(lost)} are not in the study in {run}: that folder is not on the volume that the "
            "trials wrote to; set run_root to a folder on a volume that all stages mount"
        )
    best = select(
        trials,
        leaderboard,
        model,
        classes=PreparedDataset.read(prepared).classes,
        metric=primary_name(complete(job.fixed_settings())),
    )
    # A later run may start from this one by its name: see checkpoint_run_id.
    storage.put_folder(model, storage.join(copies or str(run), MODEL_FOLDER))
    return best
