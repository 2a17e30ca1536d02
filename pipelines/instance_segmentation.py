"""The DAG: how the stages become a pipeline."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from kfp import dsl
from kfp.dsl.graph_component import GraphComponent

from maskline.components.data_preparation.component import data_preparation
from maskline.components.data_snapshot.component import data_snapshot
from maskline.components.evaluation.component import evaluation
from maskline.components.onnx_export.component import onnx_export
from maskline.components.sweep_trial.component import sweep_trial
from maskline.components.trial_selection.component import trial_selection

from .placement import Placement


class Outputs(NamedTuple):
    """What a run delivers."""

    prepared: dsl.Dataset
    data_report: dsl.HTML
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
        slots: iterations of the sweep; each runs a trial, or continues one, or finds nothing to do.
        parallelism: slots that run at a time.
        environment: environment variables of every stage.
        placement: where the stages run.
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
    placement: Placement


def instance_segmentation(plan: Plan) -> GraphComponent:
    """The pipeline of a job.

    Into the loop go pipeline parameters and artifacts only: kfp.local replaces the parameter of another
    task by the loop's item.
    """
    placement = plan.placement

    def pipeline(
        job: str = plan.job,
        training_data: str = plan.training_data,
        validation_data: str = plan.validation_data,
        test_data: str = plan.test_data,
        data_version: str = "",
        checkpoint_run_id: str = "",
        run_root: str = placement.cluster.run_root,
        run_name: str = "",
        node_selector: dict = placement.compute.node_selector,  # type: ignore[type-arg]
        tolerations: list = placement.tolerations,  # type: ignore[type-arg]
        run_volume: str = placement.volume or "",
    ) -> Outputs:
        run = {"run_root": run_root, "run_name": run_name, "run_id": dsl.PIPELINE_JOB_ID_PLACEHOLDER}

        data = {
            "training_data": training_data,
            "validation_data": validation_data,
            "test_data": test_data,
        }

        snapshot = data_snapshot(job=job, data_version=data_version, **data)
        snapshot.set_caching_options(False)

        preparation = data_preparation(
            job=snapshot.outputs["data_job"], digest=snapshot.outputs["digest"], **data
        )
        prepared = preparation.outputs["prepared"]

        with dsl.ParallelFor(items=[0] * plan.slots, parallelism=plan.parallelism) as slot:
            trial = sweep_trial(
                job=job, slot=slot, checkpoint_run_id=checkpoint_run_id, prepared=prepared, **run
            )
            trial.set_caching_options(False)

        selection = trial_selection(
            job=job, outcomes=dsl.Collected(trial.outputs["Output"]), prepared=prepared, **run
        )
        selection.set_caching_options(False)
        model, leaderboard = selection.outputs["model"], selection.outputs["leaderboard"]

        evaluated = evaluation(job=job, prepared=prepared, leaderboard=leaderboard, model=model)
        evaluated.set_caching_options(False)

        exported = onnx_export(
            job=job, prepared=prepared, model=model, results=evaluated.outputs["results"], **run
        )
        exported.set_caching_options(False)

        for task in (snapshot, preparation, trial, selection, evaluated, exported):
            placement.put(task, plan.environment, run_volume, node_selector, tolerations)

        return Outputs(
            prepared=prepared,
            data_report=preparation.outputs["report"],
            leaderboard=leaderboard,
            model=model,
            results=evaluated.outputs["results"],
            report=evaluated.outputs["report"],
            onnx=exported.outputs["onnx"],
        )

    if placement.volume is None:  # nobody would read the parameter
        signature = inspect.signature(pipeline)
        kept = [one for name, one in signature.parameters.items() if name != "run_volume"]
        pipeline.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return dsl.pipeline(name=plan.name, description=plan.description)(pipeline)
