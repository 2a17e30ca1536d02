from pathlib import Path
from typing import Any

import pytest

from maskline.errors import JobError
from maskline.job import ImageInstanceSegmentationJob, load_sound_job

RIGHT: dict[str, Any] = {
    "type": "automl",
    "task": "image_instance_segmentation",
    "training_data": {"type": "mltable", "path": "train"},
    "target_column_name": "label",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train", "valid"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "MLTable").touch()
    return tmp_path


def check(folder: Path, **fields: Any) -> list[str]:
    """What `maskline validate` would say of the right job with some fields changed."""
    data = {k: v for k, v in (RIGHT | fields).items() if v is not ...}
    try:
        return ImageInstanceSegmentationJob.from_dict(data, folder).problems()
    except JobError as error:
        return list(error.problems)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "wrong enum": (
        {"training_parameters": {"optimizer": "lion"}},
        "training_parameters.optimizer='lion' is not legal; choose one of none, sgd, adam, adamw",
    ),
    "negative count": (
        {"training_parameters": {"number_of_epochs": -3}},
        "training_parameters.number_of_epochs=-3 is below 1; give a whole number of at least 1",
    ),
    "above its bound": (
        {"training_parameters": {"learning_rate": 2}},
        "training_parameters.learning_rate=2 is outside (0, 1]; give a number in that range",
    ),
    "fractional count": (
        {"training_parameters": {"min_size": 600.5}},
        "min_size=600.5 is not a whole number",
    ),
    "text for a number": ({"training_parameters": {"momentum": "high"}}, "momentum='high' is not a number"),
    "missing file": (
        {"training_data": {"path": "trian"}},
        "training_data.path=trian doesn't exist: there is no ",
    ),
    "no data": ({"training_data": ...}, "training_data is missing"),
    "no column": ({"target_column_name": ...}, "target_column_name is missing"),
    "an asset": (
        {"training_data": {"path": "azureml:fruits:1"}},
        'properties: {"azureml:fruits:1": "./path/or/uri"}',
    ),
    "a bare path": ({"training_data": "./train"}, "write Input(type='mltable', path='./train')"),
    "unknown key": (
        {"trainning_data": {}},
        "trainning_data is not a known name; did you mean training_data?",
    ),
    "unknown knob": (
        {"training_parameters": {"min_sise": 1}},
        "training_parameters.min_sise is not a known name",
    ),
    "unknown key inside": (
        {"limits": {"max_trails": 1}},
        "limits.max_trails is not a known name; did you mean max",
    ),
    "limit too high": ({"limits": {"max_trials": 1001}}, "limits.max_trials=1001 is outside [1, 1000]"),
    "trial time-out": ({"limits": {"trial_timeout_minutes": 0}}, "trial_timeout_minutes=0 is outside"),
    "conflicting data": (
        {"validation_data": {"path": "valid"}, "validation_data_size": 0.2},
        "validation_data_size=0.2 splits the training data, and validation_data is given too",
    ),
    "whole validation": ({"validation_data_size": 1}, "validation_data_size=1 is outside (0, 1)"),
    "two kinds of test data": (
        {"test_data": {"path": "valid"}, "test_data_size": 0.2},
        "test_data_size=0.2 splits the training data, and test_data is given too",
    ),
    "nothing left": (
        {"validation_data_size": 0.5, "test_data_size": 0.5},
        "validation_data_size=0.5 and test_data_size=0.5 leave nothing to train on",
    ),
    "a secret": (
        {"training_data": {"path": "s3://a:b@b/x"}},
        "training_data.path can't be used: s3://b/x was",
    ),
    "a datastore": (
        {"training_data": {"path": "azureml://datastores/d/paths/x"}},
        'properties: {"azureml://datastores/d": "s3://bucket/folder"}',
    ),
    "left in a bucket": (
        {
            "training_data": {"path": "s3://b/x"},
            "training_parameters": {"advanced_settings": '{"materialise": false}'},
        },
        "advanced_settings.materialise=false leaves pictures where they lie, and those of training_data",
    ),
    "an mltable that is none": (
        {"training_data": {"type": "mltable", "path": "."}},
        "training_data.path=. has no file MLTable",
    ),
    "fixed and swept": (
        {"training_parameters": {"momentum": 0.5}, "search_space": [{"momentum": "uniform(0.1, 0.2)"}]},
        "search_space[0].momentum is also fixed in training_parameters (momentum=0.5), which would win",
    ),
    "grid over a range": (
        {"sweep": {"sampling_algorithm": "grid"}, "search_space": [{"momentum": "quniform(0.3, 0.9, 0.3)"}]},
        "search_space[0].momentum=quniform(0.3, 0.9, 0.3) has no list of values for a grid; give choice",
    ),
    "base of logarithms": (
        {"sweep": {"sampling_algorithm": {"type": "random", "logbase": 10}}, "search_space": [{}]},
        "sweep.sampling_algorithm.logbase=10.0 can't be honoured: bounds of log forms are natural logarithms",
    ),
    "warm start of random draws": (
        {"sweep": {"sampling_algorithm": "random", "warm_start_from": "first"}, "search_space": [{}]},
        "only bayesian sampling learns from former trials, and sampling_algorithm is random",
    ),
    "a policy without scores": (
        {
            "sweep": {"sampling_algorithm": "random", "early_termination": {"type": "median_stopping"}},
            "search_space": [{}],
            "training_parameters": {"validation_metric_type": "none"},
        },
        "sweep.early_termination has nothing to go by: validation_metric_type=none",
    ),
    "metrics that differ": (
        {"search_space": [{"validation_metric_type": "choice(coco, voc)"}]},
        "search_space has validation_metric_type=coco and voc: scores of different metrics don't say which",
    ),
    "metrics that differ by sub-space": (
        {"search_space": [{"validation_metric_type": "voc"}, {"momentum": 0.5}]},
        "search_space has validation_metric_type=voc and coco: scores of different metrics",
    ),
    "thresholds that differ": (
        {
            "training_parameters": {"validation_metric_type": "coco_voc"},
            "search_space": [{"validation_iou_threshold": "uniform(0.5, 0.7)"}],
        },
        "search_space has validation_iou_threshold=0.5 and 0.7: scores of different metrics",
    ),
    "patience without scores": (
        {"training_parameters": {"validation_metric_type": "none", "early_stopping": True}},
        "early_stopping=true has nothing to go by",
    ),
    "nothing to sweep": ({"sweep": {"sampling_algorithm": "random"}}, "search_space is missing"),
    "wrong metric": (
        {"primary_metric": "accuracy"},
        "primary_metric='accuracy' is not legal; choose mean_average",
    ),
    "another task": ({"task": "image_classification"}, "task='image_classification' is not legal"),
    "model unknown": (
        {"training_parameters": {"model_name": "yolov5"}},
        "training_parameters.model_name=yolov5 is not a registered model",
    ),
    "model unknown in a space": (
        {"search_space": [{"min_size": 600}, {"model_name": "choice('maskrcnn_resnet50_fpn', 'yolov5')"}]},
        "search_space[1].model_name=yolov5 is not a registered model",
    ),
    "another family's": (
        {"training_parameters": {"multi_scale": True}},
        "training_parameters.multi_scale belongs to one-stage models, and has no meaning for "
        "model_name=maskrcnn_resnet50_fpn",
    ),
    "another family's in a space": (
        {"search_space": [{"image_size": "quniform(320, 640, 32)"}]},
        "search_space[0].image_size belongs to one-stage models",
    ),
    "two families in one space": (
        {"search_space": [{"model_name": "choice('maskrcnn_resnet50_fpn', 'rfdetr_seg')", "min_size": 600}]},
        "search_space[0].min_size belongs to Mask R-CNN, and has no meaning for model_name=rfdetr_seg",
    ),
    "too many objects": (
        {"training_parameters": {"model_name": "rfdetr_seg", "box_detections_per_image": 300}},
        "training_parameters.box_detections_per_image=300 is above the 200 objects that model_size=medium",
    ),
    "impossible pair": (
        {"training_parameters": {"min_size": 900, "max_size": 800}},
        "training_parameters.min_size=900 is above max_size=800",
    ),
    "impossible pair in a space": (
        {"search_space": [{"min_size": "choice(600, 800)", "max_size": "choice(1333, 700)"}]},
        "search_space[0].min_size=800 is above max_size=700",
    ),
    "impossible across": (
        {"training_parameters": {"max_size": 700}, "search_space": [{"min_size": "choice(600, 800)"}]},
        "search_space[0].min_size=800 is above max_size=700",
    ),
    "several machines": (
        {"resources": {"instance_count": 2}},
        "resources.instance_count=2 can't be honoured",
    ),
    "inputs": ({"inputs": {"a": 1}}, "inputs=['a'] can't be honoured"),
    "an output's path": (
        {"outputs": {"best_model": {"type": "mlflow_model", "path": "x"}}},
        "outputs.best_model.path='x' can't be honoured yet",
    ),
    "another output": ({"outputs": {"logs": {"type": "uri_folder"}}}, "outputs.logs can't be honoured"),
    "swept, but can't be": (
        {"search_space": [{"checkpoint_frequency": 3}]},
        "checkpoint_frequency can't be swept",
    ),
    "drawn outside": (
        {"search_space": [{"learning_rate": {"type": "uniform", "min_value": 0, "max_value": 0.1}}]},
        "search_space[0].learning_rate.min_value=0 is outside (0, 1]",
    ),
    "advanced": (
        {"training_parameters": {"advanced_settings": '{"seed": 1}'}},
        "training_parameters.advanced_settings.seed is not a known name",
    ),
}


def test_the_right_job_has_no_problems(folder: Path) -> None:
    assert check(folder) == []


@pytest.mark.parametrize("case", WRONG)
def test_wrong_jobs_end_in_one_line_that_helps(case: str, folder: Path) -> None:
    fields, words = WRONG[case]
    found = check(folder, **fields)
    assert len(found) == 1, found
    assert words in found[0]
    assert "\n" not in found[0]


def test_all_problems_are_told_at_once(folder: Path) -> None:
    found = check(
        folder,
        training_data=...,
        target_column_name=...,
        limits={"max_trials": 3},
        sweep={"sampling_algorithm": "random", "warm_start_from": "first"},
        training_parameters={"multi_scale": True, "optimizer": "none"},
        test_data={"path": "none"},
    )
    assert len(found) == 7
    broken = check(folder, limits={"max_trials": 0}, tags=3, validation_data_size=4, target_column_nam="x")
    assert len(broken) == 4


@pytest.mark.parametrize(
    "fields",
    [
        {"training_data": {"path": "azureml:fruits:1"}, "properties": {"azureml:fruits:1": "train"}},
        {"validation_data_size": 0.2, "test_data_size": 0.1},
        {
            "limits": {"max_trials": 5},
            "sweep": {"sampling_algorithm": "random"},
            "search_space": [
                {"model_name": "maskrcnn_resnet50_fpn", "min_size": "choice(600, 800)"},
                {"model_name": "rfdetr_seg", "model_size": "choice('small', 'large')", "multi_scale": True},
            ],
        },
        {"limits": {"max_trials": 5}},
        {"training_data": {"path": "azureml:./train"}, "test_data": {"path": "valid"}},
        {"validation_data_size": 0.2},
        {"search_space": [{"momentum": "uniform(0.0, 0.9)"}]},  # 0 itself is never drawn
        {"search_space": [{"min_size": "choice(600, 800)"}], "limits": {"max_trials": 1}},
        {"search_space": [{"min_size": 2000, "max_size": "choice(2000, 3000)"}], "limits": {"max_trials": 4}},
        {"search_space": [{"max_size": "choice(2500, 3000)"}], "training_parameters": {"min_size": 2000}},
        {
            "search_space": [
                {"training_batch_size": "qloguniform(1, 2, 1)", "max_size": "qnormal(1333, 9, 32)"}
            ]
        },
        {"search_space": [{"optimizer": "adam", "momentum": 0}]},
        {"sweep": {"sampling_algorithm": {"type": "random", "rule": "sobol"}}, "search_space": [{}]},
        {"sweep": {"sampling_algorithm": {"type": "random", "logbase": "e"}}, "search_space": [{}]},
        {"sweep": {"sampling_algorithm": "grid"}, "search_space": [{"layers_to_freeze": "randint(3)"}]},
        {
            "sweep": {"sampling_algorithm": "bayesian", "early_termination": {"type": "median_stopping"}},
            "search_space": [{"momentum": "normal(0.9, 0.1)"}, {"min_size": 500}],
        },
        {"compute": "azureml:gpu", "identity": {"type": "aml_token"}, "queue_settings": {"job_tier": "spot"}},
        {"resources": {"instance_count": 1, "shm_size": "8g"}, "environment_variables": {"A": "1"}},
        {"outputs": {"best_model": {"type": "mlflow_model"}}},
        {"training_parameters": {"distributed": True, "model_name": "maskrcnn_resnet18_fpn_light"}},
    ],
)
def test_jobs_that_are_right(fields: dict[str, Any], folder: Path) -> None:
    assert check(folder, **fields) == []


def test_data_are_looked_at_only_when_asked_and_relative_to_the_job(folder: Path) -> None:
    job = ImageInstanceSegmentationJob.from_dict(RIGHT, folder / "elsewhere")
    assert job.problems(check_data=False) == []
    with pytest.raises(JobError) as caught:
        job.validate()
    assert str(folder / "elsewhere" / "train") in str(caught.value)


def test_what_is_wrong_in_the_file_hides_nothing_else(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "type: automl\ntask: image_instance_segmentation\n"
        "training_data: {type: mltable, path: ./nowhere}\n"
        "validation_data: {type: mltable, path: ./nowhere}\nvalidation_data_size: 0.2\n"
        "target_column_name: label\nlimits: {max_trials: 0, max_nodes: 2}\n"
        "training_parameters: {optimizer: lion, min_size: 900, max_size: 30, tile_overlap_ratio: 0.5}\n"
    )
    with pytest.raises(JobError) as error:
        load_sound_job(path)
    found = "\n".join(error.value.problems)
    for word in (
        "optimizer='lion'",
        "limits.max_trials=0",
        "limits.max_nodes",
        "nowhere",
        "validation_data_size",
        "min_size=900",
        "tile_overlap_ratio=0.5",
    ):
        assert word in found, word
    with pytest.raises(JobError) as error:
        load_sound_job(path, check_data=False)
    assert "doesn't exist" not in str(error.value)


def test_what_was_taken_out_is_not_missed(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text(
        "type: automl\ntask: image_instance_segmentation\ntarget_column_name: label\n"
        "training_data: {type: mltabel, path: ./x}\nlimits: {max_trials: 3}\n"
        "search_space: [{learning_rate: {type: uniform, min_value: 0.5, max_value: 2}}]\n"
    )
    with pytest.raises(JobError) as error:
        load_sound_job(path)
    assert not [line for line in error.value.problems if "missing" in line or "AutoMode" in line]
    assert [line.split("=")[0] for line in error.value.problems] == [
        "training_data.type",
        "search_space[0].learning_rate.max_value",
        "training_data.path",  # there is no ./x, whatever its type
    ]
