"""The DAG: how the stages become a pipeline."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from maskline.components.data_preparation.component import data_preparation
from maskline.components.evaluation.component import evaluation
from maskline.components.onnx_export.component import onnx_export
from maskline.components.sweep_trial.component import sweep_trial
from maskline.components.trial_selection.component import trial_selection

from .placement import RUN_ROOT, RUN_VOLUME, on_any_node, on_gpu_node


class Outputs(NamedTuple):
    """What a run delivers."""

    leaderboard: dsl.Artifact
    model: dsl.Model
    results: dsl.Artifact
    report: dsl.HTML
    onnx: dsl.Model


@dataclass(frozen=True)
class Plan:
    """What is fixed when a pipeline is compiled.

    Attributes:
        name: of the pipeline.
        description: of the pipeline.
        job: the packed job.
        training_data, validation_data, test_data: paths or URIs; empty for none.
        slots: trials of the sweep, one slot each.
        parallelism: slots that run at a time.
        environment: environment variables of every stage.
    """

    name: str
    description: str
    job: str
    training_data: str
    validation_data: str
    test_data: str
    slots: int
    parallelism: int
    environment: Mapping[str, str]


def instance_segmentation(plan: Plan) -> GraphComponent:
    """The pipeline of a job.

    Into the loop go pipeline parameters and artifacts only: kfp.local replaces the parameter of another
    task by the loop's item.
    """

    @dsl.pipeline(name=plan.name, description=plan.description)
    def pipeline(
        job: str = plan.job,
        training_data: str = plan.training_data,
        validation_data: str = plan.validation_data,
        test_data: str = plan.test_data,
        data_version: str = "",
        checkpoint_run_id: str = "",
        run_root: str = RUN_ROOT,
        run_name: str = "",
        run_volume: str = RUN_VOLUME,
    ) -> Outputs:
        run = {"run_root": run_root, "run_name": run_name, "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}

        preparation = data_preparation(
            job=job,
            training_data=training_data,
            validation_data=validation_data,
            test_data=test_data,
            data_version=data_version,
        )
        on_any_node(preparation, run_volume)
        prepared = preparation.outputs["prepared"]

        with dsl.ParallelFor(items=list(range(plan.slots)), parallelism=plan.parallelism) as slot:
            trial = sweep_trial(
                job=job, slot=slot, checkpoint_run_id=checkpoint_run_id, prepared=prepared, **run
            )
            on_gpu_node(trial, run_volume).set_caching_options(False)

        selection = trial_selection(
            job=job, outcomes=dsl.Collected(trial.outputs["Output"]), prepared=prepared, **run
        )
        on_any_node(selection, run_volume).set_caching_options(False)
        model, leaderboard = selection.outputs["model"], selection.outputs["leaderboard"]

        evaluated = evaluation(job=job, prepared=prepared, leaderboard=leaderboard, model=model)
        on_gpu_node(evaluated, run_volume)

        exported = onnx_export(job=job, prepared=prepared, model=model).after(evaluated)
        on_any_node(exported, run_volume, memory="8Gi")

        for task in (preparation, trial, selection, evaluated, exported):
            for name, value in plan.environment.items():
                task.set_env_variable(name, value)

        return Outputs(
            leaderboard=leaderboard,
            model=model,
            results=evaluated.outputs["results"],
            report=evaluated.outputs["report"],
            onnx=exported.outputs["onnx"],
        )

    return pipeline
