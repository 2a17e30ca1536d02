"""The door of trial_selection."""

from kfp import dsl

from maskline.images import LIGHT


@dsl.component(base_image=LIGHT, install_kfp_package=False)
def trial_selection(
    job: str,
    outcomes: list[str],
    run_root: str,
    run_name: str,
    run_id: str,
    prepared: dsl.Input[dsl.Dataset],
    leaderboard: dsl.Output[dsl.Artifact],
    model: dsl.Output[dsl.Model],
) -> None:
    """Choose the best trial of the sweep.

    Args:
        job: the packed job.
        outcomes: what the slots returned; the study is what counts.
        run_root: folder or URI of the run directories.
        run_name: name of the run directory; empty for run_id.
        run_id: the id that KFP gave the run.
        prepared: the prepared data set.
        leaderboard: table and picture of all trials.
        model: checkpoint of the best trial.
    """
    from pathlib import Path

    from maskline.components.trial_selection.select_best import select_best
    from maskline.stages import stage
    from maskline.study import run_directory

    with stage("trial_selection", job) as description:
        run = run_directory(run_root, run_name, run_id)
        paths = [Path(artifact.path) for artifact in (prepared, leaderboard, model)]
        best = select_best(description, outcomes, run.path, *paths, copies=run.copies)
        model.metadata.update(trial=best.number, score=best.score)
