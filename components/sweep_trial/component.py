"""The door of sweep_trial."""

from kfp import dsl

from maskline.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def sweep_trial(
    job: str,
    slot: int,
    run_root: str,
    run_name: str,
    run_id: str,
    checkpoint_run_id: str,
    prepared: dsl.Input[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> str:
    """Run one trial of the sweep; a trial that fails is recorded, and ends this task well.

    There are some slots more than trials, for trials that are interrupted; what finds nothing to do ends.

    Args:
        job: the packed job.
        slot: of no meaning, since slots are alike; KFP wants a loop's item to be used.
        run_root: folder of the run directories, on a file system that all trials share; or a URI.
        run_name: name of the run directory; empty for run_id.
        run_id: the id that KFP gave the run.
        checkpoint_run_id: takes the place of the job's, unless empty.
        prepared: the prepared data set.
        metrics: the trial's score, for KFP's pages.

    Returns:
        The trial's record, as JSON; null if there was nothing to do.
    """
    import json
    from pathlib import Path

    from maskline.components.sweep_trial.supervise import run_slot
    from maskline.stages import stage
    from maskline.study import run_directory

    with stage("sweep_trial", job) as description:
        run = run_directory(run_root, run_name, run_id)
        if checkpoint_run_id:
            description.set_training_parameters(checkpoint_run_id=checkpoint_run_id)
        trial = run_slot(description, Path(prepared.path), *run)
        record = trial.to_json() if trial else {}
        metrics.metadata.update({name: record[name] or 0.0 for name in ("number", "score") if record})
        return json.dumps(record or None)
