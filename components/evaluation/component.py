"""The door of evaluation."""

from kfp import dsl

from maskline.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def evaluation(
    job: str,
    prepared: dsl.Input[dsl.Dataset],
    leaderboard: dsl.Input[dsl.Artifact],
    model: dsl.Input[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    results: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
    confusion: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    """Measure the best model on the test pictures, or on the validation pictures where there are none.

    Args:
        job: the packed job.
        prepared: the prepared data set.
        leaderboard: of trial_selection.
        model: of trial_selection.
        metrics: the main numbers, for KFP's pages.
        results: all numbers, and the predictions as COCO results.
        report: one self-contained HTML page.
        confusion: the confusion matrix of masks, for KFP's pages.
    """
    from pathlib import Path

    from maskline.components.evaluation.measure import measure
    from maskline.stages import stage

    with stage("evaluation", job) as description:
        paths = [Path(artifact.path) for artifact in (prepared, leaderboard, model, results, report)]
        scores, matrix = measure(description, *paths)
        for name, value in scores.items():
            metrics.log_metric(name, value)
        confusion.log_confusion_matrix(*matrix)
