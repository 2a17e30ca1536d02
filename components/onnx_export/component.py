"""The door of onnx_export."""

from kfp import dsl

from maskline.images import TRAINER


@dsl.component(base_image=TRAINER, install_kfp_package=False)
def onnx_export(
    job: str,
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    onnx: dsl.Output[dsl.Model],
) -> None:
    """Write the best model as an ONNX graph, and prove on real pictures that the two agree.

    Args:
        job: the packed job.
        prepared: the prepared data set.
        model: of trial_selection.
        onnx: the graph, the class names, and the table of parity.
    """
    from pathlib import Path

    from maskline.components.onnx_export.deliver import deliver
    from maskline.stages import stage

    with stage("onnx_export", job):
        deliver(Path(prepared.path), Path(model.path), Path(onnx.path))
