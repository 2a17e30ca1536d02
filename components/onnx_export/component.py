"""The door of onnx_export."""

from kfp import dsl

from maskline.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def onnx_export(
    job: str,
    run_root: str,
    run_name: str,
    run_id: str,
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    results: dsl.Input[dsl.Artifact],
    onnx: dsl.Output[dsl.Model],
    card: dsl.Output[dsl.Markdown],
) -> None:
    """Write the best model as an ONNX graph, and prove on real pictures that the two agree.

    Args:
        job: the packed job.
        run_root: folder or URI of the run directories.
        run_name: name of the run directory; empty for run_id.
        run_id: the id that KFP gave the run.
        prepared: the prepared data set.
        model: of trial_selection.
        results: of evaluation.
        onnx: the folder of the model: graph, weights, class names, card, parity, MLflow's layout.
        card: the model card once more, for Kubeflow Pipelines to show.
    """
    import shutil
    from pathlib import Path

    from maskline.artifacts import CARD
    from maskline.components.onnx_export.deliver import deliver
    from maskline.stages import stage
    from maskline.study import run_directory

    with stage("onnx_export", job):
        paths = [Path(artifact.path) for artifact in (prepared, model, results, onnx)]
        run = run_directory(run_root, run_name, run_id)
        deliver(*paths, run=run.copies or run.path)
        shutil.copyfile(Path(onnx.path) / CARD, card.path)
