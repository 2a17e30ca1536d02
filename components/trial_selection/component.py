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
        run_root: folder of the run directories.
        run_name: name of the run directory; empty for run_id.
        run_id: the id that KFP gave the run.
        prepared: the prepared data set.
        leaderboard: table and picture of all trials.
        model: checkpoint of the best trial.
    """
    from pathlib import Path

    from maskline.components.trial_selection.select import select
    from maskline.dataset import PreparedDataset
    from maskline.stages import stage
    from maskline.study import open_study, read_trials

    with stage("trial_selection", job):
        trials = read_trials(open_study(Path(run_root) / (run_name or run_id)))
        classes = PreparedDataset.read(prepared.path).classes
        best = select(trials, Path(leaderboard.path), Path(model.path), classes=classes)
        model.metadata.update(trial=best.number, score=best.score)
