"""What AutoMode chooses, against its published rules."""

from dataclasses import replace
from typing import Any

import optuna
import pytest

from maskline.automode import LIGHT, Facts, models, strategy
from maskline.components.sweep_trial.propose import propose
from maskline.components.sweep_trial.sampling import automode_sampler
from maskline.settings import complete, obstacles

LARGE = Facts(pictures=5000, side=720, object_side=60, memory=24)
BOTH = replace(LARGE, rfdetr=("small", "medium", "large"))
SMALL = Facts(pictures=60, side=400, object_side=20, memory=0)


def test_facts_of_a_data_set() -> None:
    sizes = [(800, 600), (300, 500), (100, 90)]
    objects = [{"area": 100}, {"area": 400, "iscrowd": 0}, {"area": 900}, {"area": 9e6, "iscrowd": 1}]
    coco = {"images": [{"width": w, "height": h} for w, h in sizes], "annotations": objects}
    facts = Facts.of(coco, 8)
    assert facts == Facts(pictures=3, side=300, object_side=20, memory=8)
    assert Facts.load(facts.dump()) == facts
    assert Facts.load(BOTH.dump()) == BOTH
    assert Facts.of({**coco, "annotations": []}, 8).object_side == 32


@pytest.mark.parametrize(
    ("memory", "pictures", "first", "number"),
    [
        (0, 10**6, LIGHT, 1),
        (4, 1000, "maskrcnn_resnet18_fpn", 2),
        (8, 1000, "maskrcnn_resnet50_fpn", 2),
        (24, 100, "maskrcnn_resnet50_fpn", 2),
        (12, 5000, "maskrcnn_resnet50_fpn", 2),
        (24, 5000, "maskrcnn_resnet50_fpn", 3),
    ],
)
def test_models_by_memory_and_data(memory: float, pictures: int, first: str, number: int) -> None:
    found = models(memory, pictures)
    assert (found[0], len(found)) == (first, number)


def test_sizes_and_epochs_follow_from_the_facts() -> None:
    large = strategy(LARGE, {}).spaces[0]
    # 720 * 32 / 60 = 384; and a third more, 511, in multiples of 32
    assert large.min_size.values == (384, 512)
    assert large.number_of_epochs == 12  # 6000 / 5000 are fewer than the least
    small = strategy(SMALL, {}).spaces[0]
    assert small.min_size == 320  # 400 * 32 / 20 = 640, and no more than 320 on processors
    assert small.number_of_epochs == 30


FIXED: list[dict[str, Any]] = [
    {},
    {"model_name": LIGHT},
    {"optimizer": "adam"},
    {"learning_rate": 0.01, "optimizer": "sgd"},
    {"min_size": 1500},
    {"model_name": "rfdetr_seg"},
    {"model_name": "rfdetr_seg", "image_size": 480, "model_size": "large"},
    {"max_size": 200},
    {"number_of_epochs": 3, "training_batch_size": 8, "weight_decay": 0.0},
    {"advanced_settings": '{"pretrained_weights": "none"}'},
]


@pytest.mark.parametrize("facts", [LARGE, BOTH, SMALL, Facts(200, 3000, 500, 5), Facts(1, 64, 64, 80)])
@pytest.mark.parametrize("fixed", FIXED)
def test_every_proposal_can_be_trained(facts: Facts, fixed: dict[str, Any]) -> None:
    chosen = strategy(facts, fixed)
    study = optuna.create_study(direction="maximize")
    for number in range(len(chosen.firsts) + 4):
        study.sampler = automode_sampler(chosen, 5)
        trial = study.ask()
        varied, settings = propose(trial, chosen.spaces, fixed)
        assert not obstacles(complete(settings))
        assert fixed.items() <= settings.items()
        assert not set(fixed) & set(varied)
        if number < len(chosen.firsts):
            assert chosen.firsts[number][1].items() <= settings.items()
        study.tell(trial, number / 10)


def test_the_text_says_it_all() -> None:
    text = strategy(LARGE, {}).text(10)
    head = "AutoMode 2: 5000 training pictures, shorter side 720 px, objects of 60 px, a GPU of 24 GiB"
    assert text.startswith(head)
    assert "0  optimizer=sgd, model_name=maskrcnn_resnet50_fpn, learning_rate=0.005" in text
    assert "then, 4 trials by bayesian sampling from:" in text
    assert "learning_rate: loguniform(-11.5129, -7.6009)" in text
    assert (
        "type=closing_bandit, evaluation_interval=1, delay_evaluation=5, slack_factor=2.0, evaluations=12"
        in text
    )
    assert "then" not in strategy(LARGE, {}).text(3)


def test_rf_detr_is_tried_where_it_is_at_hand_after_the_safest_model() -> None:
    chosen = strategy(BOTH, {})
    assert [values["model_name"] for _, values in chosen.firsts[:3]] == [
        "maskrcnn_resnet50_fpn",
        "maskrcnn_resnet50_fpn",
        "rfdetr_seg",
    ]
    assert chosen.spaces[-1].model_size.values == ("medium", "large")
    assert chosen.spaces[:-1] == strategy(LARGE, {}).spaces
    assert "rfdetr_seg is among the models, since it is at hand" in chosen.text(10)
    assert "min_size" not in chosen.spaces[-1]


@pytest.mark.parametrize(
    ("facts", "fixed", "reason"),
    [
        (SMALL, {}, "it takes a GPU of 10 GiB"),
        (replace(BOTH, memory=8), {}, "it takes a GPU of 10 GiB"),
        (LARGE, {}, "its packages (the extra rfdetr) or its published weights are not on this machine"),
        (BOTH, {"min_size": 800}, "min_size belongs to Mask R-CNN"),
        (
            BOTH,
            {"advanced_settings": '{"pretrained_weights": "none"}'},
            "the job says what training starts from",
        ),
    ],
)
def test_the_reason_is_said_where_rf_detr_is_left_out(facts: Facts, fixed: dict, reason: str) -> None:
    chosen = strategy(facts, fixed)
    assert not any("rfdetr_seg" in str(space.model_name) for space in chosen.spaces)
    assert f"rfdetr_seg is left out: {reason}" in chosen.text(5)
