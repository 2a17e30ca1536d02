"""A job becomes a pipeline that says what the job says."""

import json
from pathlib import Path

import pytest
import yaml

from maskline import Input, automl
from maskline.automl import SearchSpace
from maskline.errors import JobError, StageError, VersionError
from maskline.job import ImageInstanceSegmentationJob
from maskline.pipelines import compiler
from maskline.pipelines.compiler import compile_job, pipeline_name, plan, spare_slots
from maskline.stages import pack, stage
from maskline.sweep import Uniform


@pytest.fixture
def job() -> ImageInstanceSegmentationJob:
    made = automl.image_instance_segmentation(
        training_data=Input(type="mltable", path="/data/train"),
        target_column_name="label",
        display_name="Nuts & Figs, 2nd",
    )
    made.set_limits(max_trials=7, max_concurrent_trials=9)
    made.extend_search_space(SearchSpace(learning_rate=Uniform(0.001, 0.01)))
    return made


def test_slots_and_parallelism(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    ir = compile_job(job, tmp_path / "pipeline.yaml")
    (loop,) = [task for task in ir["root"]["dag"]["tasks"].values() if "parameterIterator" in task]
    assert json.loads(loop["parameterIterator"]["items"]["raw"]) == [0] * 8  # one is spare
    assert loop["iteratorPolicy"]["parallelismLimit"] == 7
    compile_job(job, tmp_path / "pipeline.yaml", spares=False)
    assert "[0,0,0,0,0,0,0]" in (tmp_path / "pipeline.yaml").read_text()
    assert [spare_slots(trials) for trials in (1, 10, 11, 1000)] == [1, 1, 2, 100]


def test_the_journey(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    ir = compile_job(job, tmp_path / "pipeline.yaml")
    tasks = ir["root"]["dag"]["tasks"]
    after = {name: set(task.get("dependentTasks", [])) for name, task in tasks.items()}
    (loop,) = [name for name in after if name.startswith("for-loop")]
    assert after["data-snapshot"] == set()
    assert after["data-preparation"] == {"data-snapshot"}
    caching = {name: task.get("cachingOptions", {}).get("enableCache", False) for name, task in tasks.items()}
    assert [name for name, cached in caching.items() if cached] == ["data-preparation"]
    assert after[loop] == {"data-preparation"}
    assert after["trial-selection"] == {"data-preparation", loop}
    assert after["evaluation"] == {"data-preparation", "trial-selection"}
    assert after["onnx-export"] == {"data-preparation", "trial-selection", "evaluation"}


def test_what_a_scheduler_changes_is_a_parameter(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    ir = compile_job(job, tmp_path / "pipeline.yaml")
    parameters = ir["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() >= {"job", "training_data", "validation_data", "test_data", "checkpoint_run_id"}
    assert parameters["training_data"]["defaultValue"] == "/data/train"
    assert all("defaultValue" in parameter for parameter in parameters.values())


def test_trials_run_on_gpu_nodes_with_shared_memory_and_the_runs_volume(
    job: ImageInstanceSegmentationJob, tmp_path: Path
) -> None:
    compile_job(job, tmp_path / "pipeline.yaml")
    ir, platform = yaml.safe_load_all((tmp_path / "pipeline.yaml").read_text())
    executors = ir["deploymentSpec"]["executors"]
    gpus = {
        name.removeprefix("exec-"): executor["container"].get("resources", {}).get("accelerator", {})
        for name, executor in executors.items()
    }
    assert gpus["sweep-trial"] == gpus["evaluation"] != {}
    assert gpus["data-preparation"] == gpus["trial-selection"] == gpus["onnx-export"] == {}
    kubernetes = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert kubernetes["exec-sweep-trial"]["emptyDirMounts"][0]["mountPath"] == "/dev/shm"
    assert all(executor["pvcMount"] for executor in kubernetes.values())
    images = {name: executor["container"]["image"] for name, executor in executors.items()}
    assert "maskline-trainer:" in images["exec-sweep-trial"]
    assert "maskline-light:" in images["exec-data-preparation"]


def test_relative_data_are_found_from_the_jobs_folder(
    job: ImageInstanceSegmentationJob, tmp_path: Path
) -> None:
    data = job.to_dict()
    data["training_data"]["path"] = "./train"
    moved = ImageInstanceSegmentationJob.from_dict(data, base_path=tmp_path)
    assert plan(moved).training_data == str(tmp_path / "train")


@pytest.mark.parametrize(
    ("display_name", "expected"),
    [("Nuts & Figs, 2nd", "nuts-figs-2nd"), ("—", "instance-segmentation"), ("x" * 300, "x" * 100)],
)
def test_pipeline_name(job: ImageInstanceSegmentationJob, display_name: str, expected: str) -> None:
    job.display_name = display_name
    assert pipeline_name(job) == expected


def test_a_job_that_cannot_run_is_not_compiled(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    job.set_training_parameters(tile_overlap_ratio=0.5)
    with pytest.raises(JobError, match="tile_overlap_ratio=0.5 has no meaning"):
        compile_job(job, tmp_path / "pipeline.yaml")
    assert list(tmp_path.iterdir()) == []


def test_a_pipeline_file_is_yaml(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="must end in .yaml"):
        compile_job(job, tmp_path / "pipeline.json")


def test_what_the_lint_finds_is_not_left_behind(
    job: ImageInstanceSegmentationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiler, "lint", lambda ir: ["something is wrong"])
    with pytest.raises(StageError, match="something is wrong"):
        compile_job(job, tmp_path / "pipeline.yaml")
    assert list(tmp_path.iterdir()) == []


class TestTheDoorOfAStage:
    def test_the_job_arrives_as_it_was(self, job: ImageInstanceSegmentationJob) -> None:
        with stage("evaluation", pack(job)) as arrived:
            assert arrived == job

    def test_another_version_is_refused_by_both_names(self, job: ImageInstanceSegmentationJob) -> None:
        old = json.dumps({**json.loads(pack(job)), "maskline": "0.0.1"})
        wanted = r"compiled by maskline 0.0.1 and this image carries 0\.1"
        with pytest.raises(VersionError, match=wanted), stage("evaluation", old):
            pass

    def test_the_journal_tells_of_beginning_and_end(
        self, job: ImageInstanceSegmentationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MASKLINE_STAGE_JOURNAL", str(tmp_path / "journal"))
        with stage("evaluation", pack(job)):
            pass
        with pytest.raises(StageError), stage("onnx_export", pack(job)):
            raise StageError("no disk")
        events = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
        assert [(e["stage"], e["event"], e["reason"]) for e in events] == [
            ("evaluation", "began", ""),
            ("evaluation", "ended", ""),
            ("onnx_export", "began", ""),
            ("onnx_export", "failed", "no disk"),
        ]


def test_what_was_there_is_kept_when_a_job_cannot_be_compiled(
    job: ImageInstanceSegmentationJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline.yaml").write_text("pipelineInfo: mine")
    monkeypatch.setattr(compiler, "lint", lambda ir: ["something is wrong"])
    with pytest.raises(StageError):
        compile_job(job, tmp_path / "pipeline.yaml")
    assert (tmp_path / "pipeline.yaml").read_text() == "pipelineInfo: mine"


def test_weights_are_found_from_the_jobs_folder(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    job.set_training_parameters(advanced_settings='{"pretrained_weights": "weights/w.pth"}')
    moved = compiler.located(ImageInstanceSegmentationJob.from_dict(job.to_dict(), base_path=tmp_path))
    advanced = json.loads(moved.fixed_settings()["advanced_settings"])
    assert advanced == {"pretrained_weights": str(tmp_path / "weights/w.pth")}
    for kept in ("imagenet", "s3://bucket/w.pth"):
        job.set_training_parameters(advanced_settings=json.dumps({"pretrained_weights": kept}))
        assert compiler.located(job).fixed_settings() == job.fixed_settings()


def test_environment_variables_reach_every_stage(job: ImageInstanceSegmentationJob, tmp_path: Path) -> None:
    job.environment_variables = {"HTTP_PROXY": "http://proxy"}
    ir = compile_job(job, tmp_path / "pipeline.yaml")
    for executor in ir["deploymentSpec"]["executors"].values():
        assert {"name": "HTTP_PROXY", "value": "http://proxy"} in executor["container"]["env"]


def test_texts_that_look_like_kfps_placeholders_stay_texts(
    job: ImageInstanceSegmentationJob, tmp_path: Path
) -> None:
    job.description = "{{$.inputs}} and {{channel}}"
    job.tags = {"note": "{{$.outputs}}"}
    assert "{{" not in pack(job)
    with stage("evaluation", pack(job)) as arrived:
        assert arrived == job
    ir = compile_job(job, tmp_path / "pipeline.yaml")
    assert "{{" not in ir["pipelineInfo"]["description"]


def test_a_file_that_is_no_pipeline_is_not_written_over(
    job: ImageInstanceSegmentationJob, tmp_path: Path
) -> None:
    job.dump(tmp_path / "job.yaml")
    before = (tmp_path / "job.yaml").read_bytes()
    with pytest.raises(JobError, match="exists and is no compiled pipeline"):
        compile_job(job, tmp_path / "job.yaml")
    assert (tmp_path / "job.yaml").read_bytes() == before
    for _ in range(2):  # an older pipeline may be
        compile_job(job, tmp_path / "pipeline.yaml")


@pytest.mark.parametrize(("name", "value"), [("a=b", "1"), ("", "1"), ("1x", "1"), ("GOOD", "{{$.inputs}}")])
def test_environment_variables_that_cannot_be(
    job: ImageInstanceSegmentationJob, name: str, value: str
) -> None:
    job.environment_variables = {name: value}
    (problem,) = job.problems(check_data=False)
    assert problem.startswith(f"environment_variables.{name}")
