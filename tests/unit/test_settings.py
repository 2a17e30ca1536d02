import json

import pytest
from pydantic import ValidationError

from maskline.rules import Rule
from maskline.settings import MODEL_DEFAULTS, MODEL_NAMES, TrainingSettings, complete, obstacles

FACT_SHEET = [
    "advanced_settings",
    "ams_gradient",
    "beta1",
    "beta2",
    "checkpoint_frequency",
    "checkpoint_run_id",
    "distributed",
    "early_stopping",
    "early_stopping_delay",
    "early_stopping_patience",
    "enable_onnx_normalization",
    "evaluation_frequency",
    "gradient_accumulation_step",
    "layers_to_freeze",
    "learning_rate",
    "learning_rate_scheduler",
    "model_name",
    "momentum",
    "nesterov",
    "number_of_epochs",
    "number_of_workers",
    "optimizer",
    "random_seed",
    "step_lr_gamma",
    "step_lr_step_size",
    "training_batch_size",
    "validation_batch_size",
    "warmup_cosine_lr_cycles",
    "warmup_cosine_lr_warmup_epochs",
    "weight_decay",
    "box_detections_per_image",
    "box_score_threshold",
    "image_size",
    "max_size",
    "min_size",
    "model_size",
    "multi_scale",
    "nms_iou_threshold",
    "tile_grid_size",
    "tile_overlap_ratio",
    "tile_predictions_nms_threshold",
    "validation_iou_threshold",
    "validation_metric_type",
    "log_training_metrics",
    "log_validation_loss",
]

UNIT = [
    "beta1",
    "beta2",
    "momentum",
    "weight_decay",
    "step_lr_gamma",
    "warmup_cosine_lr_cycles",
    "box_score_threshold",
    "nms_iou_threshold",
    "tile_predictions_nms_threshold",
]
COUNTS = [
    "box_detections_per_image",
    "early_stopping_patience",
    "early_stopping_delay",
    "evaluation_frequency",
    "gradient_accumulation_step",
    "max_size",
    "min_size",
    "number_of_epochs",
    "training_batch_size",
    "validation_batch_size",
    "image_size",
]
DIFFERENT = {
    "learning_rate": ("above 0", [1e-9, 1], [0, 1.001]),  # 0 would train nothing
    "layers_to_freeze": ("from 0", [0, 7], [-1]),  # 0 freezes nothing, and randint(5) draws it
    "checkpoint_frequency": ("from 1", [1], [0]),  # as Azure's SDK documents it; 0 divides by zero there
    "step_lr_step_size": ("from 1", [1], [0]),  # likewise
    "tile_overlap_ratio": ("below 1", [0, 0.99], [1, -0.1]),  # at 1 tiles don't move on
    "number_of_workers": ("from 0", [0, 64], [-1]),  # unbounded on Azure, where -3 fails in the loader
    "random_seed": ("32 bits", [0, 2**32 - 1], [-1, 2**32]),  # what numpy takes
}


def legal(name: str, value: object) -> bool:
    try:
        TrainingSettings(**{name: value})
    except ValidationError:
        return False
    return True


def test_the_knobs_are_those_of_the_fact_sheet() -> None:
    assert len(FACT_SHEET) == 45
    assert set(TrainingSettings.model_fields) == set(FACT_SHEET)


def test_every_knob_is_documented() -> None:
    assert [n for n, field in TrainingSettings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize("name", UNIT)
def test_fractions_go_from_0_to_1(name: str) -> None:
    assert legal(name, 0)
    assert legal(name, 1)
    assert not legal(name, -1e-9)
    assert not legal(name, 1.000001)
    assert not legal(name, float("nan"))


@pytest.mark.parametrize("name", COUNTS)
def test_counts_start_at_1(name: str) -> None:
    assert legal(name, 1)
    assert not legal(name, 0)
    assert not legal(name, 1.5)


def test_other_ranges_of_azure() -> None:
    assert legal("validation_iou_threshold", 0.1)
    assert not legal("validation_iou_threshold", 0.09)
    assert not legal("validation_iou_threshold", 1.1)
    assert legal("warmup_cosine_lr_warmup_epochs", 0)
    assert not legal("warmup_cosine_lr_warmup_epochs", -1)


@pytest.mark.parametrize("name", DIFFERENT)
def test_ranges_that_differ_from_azure_on_purpose(name: str) -> None:
    _, inside, outside = DIFFERENT[name]
    assert all(legal(name, value) for value in inside)
    assert not any(legal(name, value) for value in outside)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("optimizer", ["none", "sgd", "adam", "adamw", "AdamW", "StochasticOptimizer.ADAMW"]),
        ("learning_rate_scheduler", ["none", "warmup_cosine", "WarmupCosine", "WARMUP_COSINE", "step"]),
        ("model_size", ["none", "small", "medium", "large", "extra_large", "ExtraLarge"]),
        ("validation_metric_type", ["none", "coco", "voc", "coco_voc", "CocoVoc"]),
        ("log_training_metrics", ["enable", "Disable", "LogTrainingMetrics.ENABLE"]),
        ("log_validation_loss", ["Enable", "disable", "LogValidationLoss.DISABLE"]),
    ],
)
def test_enumerations_read_every_spelling(name: str, words: list[str]) -> None:
    assert all(legal(name, word) for word in words)
    assert not any(legal(name, word) for word in ["lion", "poly", "lvis", "yes", "xlarge", "", 1, True])


def test_a_run_to_start_from_has_a_name() -> None:
    assert legal("checkpoint_run_id", "r1")
    assert legal("checkpoint_run_id", None)
    assert not legal("checkpoint_run_id", "")


def test_numbers_are_repaired_and_truth_values_are_not() -> None:
    settings = TrainingSettings(min_size=600.0, learning_rate="1e-4", early_stopping=1, nesterov="no")
    assert settings.min_size == 600
    assert isinstance(settings.min_size, int)
    assert settings.learning_rate == 1e-4
    assert settings.early_stopping is True
    assert settings.nesterov is False
    assert not legal("number_of_epochs", True)
    assert not legal("learning_rate", True)
    assert not legal("number_of_epochs", "ten")


def test_all_settings_survive_a_struct_that_makes_floats_of_ints() -> None:
    settings = TrainingSettings(layers_to_freeze=3, random_seed=7, image_size=640)
    plain = settings.model_dump(mode="json")
    floats = {k: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for k, v in plain.items()}
    again = TrainingSettings.model_validate(json.loads(json.dumps(floats)))
    assert again == settings
    assert {k: type(v) for k, v in again} == {k: type(v) for k, v in settings}


@pytest.mark.parametrize("grid", ["3x2", "3X2", "(3, 2)", "1x2"])
def test_tile_grids(grid: str) -> None:
    assert legal("tile_grid_size", grid)


@pytest.mark.parametrize("grid", ["abc", "3", "0x2", "1x1", "3x2x1", "-3x2"])
def test_tile_grids_that_are_none(grid: str) -> None:
    assert not legal("tile_grid_size", grid)


def test_advanced_settings_are_checked_inside() -> None:
    assert (
        TrainingSettings(advanced_settings={"primary_iou": "0.50:0.95"}).advanced.primary_iou == "0.50:0.95"
    )
    for wrong in ["{", "[1]", "3", '{"no_such_key": true}', {"metric_score_threshold": 1}, 5]:
        assert not legal("advanced_settings", wrong)


def test_model_defaults_are_legal_and_belong_to_models() -> None:
    assert set(MODEL_DEFAULTS) <= set(MODEL_NAMES)
    for name in MODEL_NAMES:
        assert obstacles(complete({"model_name": name})) == []


def test_the_users_choice_wins_over_the_models_default() -> None:
    light = "maskrcnn_resnet18_fpn_light"
    assert complete({"model_name": light}).min_size == MODEL_DEFAULTS[light]["min_size"]
    assert complete({"model_name": light, "min_size": 500}).min_size == 500


@pytest.mark.parametrize("name", ["tile_overlap_ratio", "tile_predictions_nms_threshold"])
def test_what_only_a_grid_gives_meaning_to_is_refused_without_one(name: str) -> None:
    (line,) = obstacles(complete({name: 0.5}))
    assert line.startswith(f"{name}=0.5 has no meaning without tile_grid_size")
    assert obstacles(complete({name: 0.5, "tile_grid_size": "3x2"})) == []


def test_rules_are_read_off_the_fields() -> None:
    fields = TrainingSettings.model_fields
    assert Rule.of(fields["learning_rate"]).interval == "(0, 1]"
    assert Rule.of(fields["tile_overlap_ratio"]).interval == "[0, 1)"
    assert Rule.of(fields["layers_to_freeze"]).noun == "a whole number of at least 0"
    assert Rule.of(fields["random_seed"]).interval == "[0, 4294967295]"
    assert Rule.of(fields["model_size"]).words[1] == "small"
    assert Rule.of(fields["multi_scale"]).kind == "bool"
    assert Rule.of(fields["learning_rate"]).nearest(-1) > 0
    assert Rule.of(fields["learning_rate"]).nearest(7) == 1


def test_parameters_are_set_on_the_job():
    with pytest.raises(AttributeError, match=r"use job.set_training_parameters\(min_size=…\)"):
        complete({}).min_size = 300
