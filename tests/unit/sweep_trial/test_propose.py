"""What a trial tries."""

import math
from statistics import mean, stdev

import optuna
import pytest

from maskline.automl import SearchSpace
from maskline.components.sweep_trial.propose import propose
from maskline.components.sweep_trial.sampling import TrialSampler
from maskline.sweep import (
    Choice,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Randint,
    Uniform,
)


def draws(space: list[SearchSpace], number: int = 400, seed: int = 7) -> list[dict]:
    study = optuna.create_study(sampler=TrialSampler(seed))
    return [propose(study.ask(), space, {})[0] for _ in range(number)]


def values(name: str, knob: object, number: int = 400) -> list:
    return [drawn[name] for drawn in draws([SearchSpace(**{name: knob})], number)]


def test_nothing_to_draw() -> None:
    study = optuna.create_study()
    assert propose(study.ask(), [], {"min_size": 300}) == ({}, {"min_size": 300})


def test_what_the_user_fixed_wins() -> None:
    study = optuna.create_study(sampler=TrialSampler(0))
    drawn, chosen = propose(
        study.ask(), [SearchSpace(learning_rate=Uniform(0.1, 0.2), min_size=600)], {"min_size": 300}
    )
    assert chosen["min_size"] == 300
    assert chosen["learning_rate"] == drawn["learning_rate"]


def test_draws_depend_on_seed_number_and_name_only() -> None:
    space = [SearchSpace(learning_rate=Uniform(0.1, 0.2), momentum=Uniform(0.5, 0.9))]
    assert draws(space, 5) == draws(space, 5)
    assert draws(space, 5) != draws(space, 5, seed=8)
    alone = draws([SearchSpace(momentum=Uniform(0.5, 0.9))], 5)
    assert [d["momentum"] for d in alone] == [d["momentum"] for d in draws(space, 5)]
    assert len({d["momentum"] for d in alone}) == 5


def test_uniform() -> None:
    found = values("momentum", Uniform(0.2, 0.6))
    assert 0.2 <= min(found) < 0.22
    assert 0.58 < max(found) <= 0.6
    assert mean(found) == pytest.approx(0.4, abs=0.02)


def test_log_bounds_are_exponents() -> None:
    found = [math.log(v) for v in values("learning_rate", LogUniform(-7, -4))]
    assert -7 <= min(found) < max(found) <= -4
    assert mean(found) == pytest.approx(-5.5, abs=0.15)


def test_quniform_rounds_to_multiples() -> None:
    assert set(values("number_of_epochs", QUniform(10, 40, 5))) == {10, 15, 20, 25, 30, 35, 40}


def test_qloguniform() -> None:
    found = values("training_batch_size", QLogUniform(1, 2, 1))
    assert set(found) == {3, 4, 5, 6, 7}  # round(exp(U(1, 2)))
    assert all(isinstance(v, int) for v in found)


def test_randint_is_below_its_upper_end() -> None:
    assert set(values("layers_to_freeze", Randint(5))) == {0, 1, 2, 3, 4}


def test_choice_keeps_types() -> None:
    assert set(values("optimizer", Choice(["sgd", "adamw"]))) == {"sgd", "adamw"}
    assert set(values("nesterov", Choice([True, False]))) == {True, False}


def test_normal_forms() -> None:
    found = values("learning_rate", Normal(0.5, 0.05))
    assert mean(found) == pytest.approx(0.5, abs=0.01)
    assert stdev(found) == pytest.approx(0.05, rel=0.15)
    logs = [math.log(v) for v in values("weight_decay", LogNormal(-9, 0.5))]
    assert mean(logs) == pytest.approx(-9, abs=0.1)
    assert stdev(logs) == pytest.approx(0.5, rel=0.15)
    assert all(v % 32 == 0 for v in values("max_size", QNormal(1333, 100, 32)))
    assert all(isinstance(v, int) for v in values("step_lr_step_size", QLogNormal(2, 1, 1)))


def test_unbounded_draws_are_brought_into_the_range(capsys: pytest.CaptureFixture[str]) -> None:
    found = values("momentum", Normal(0.95, 0.2))
    assert max(found) == 1
    assert "is outside its range; 1 is taken" in capsys.readouterr().out
    assert min(values("step_lr_step_size", QLogNormal(0, 2, 1))) == 1


def test_sub_spaces_are_drawn_whole() -> None:
    spaces = [
        SearchSpace(model_name="maskrcnn_resnet18_fpn", momentum=Uniform(0.1, 0.2)),
        SearchSpace(model_name="maskrcnn_resnet34_fpn", momentum=Uniform(0.8, 0.9), min_size=640),
    ]
    found = draws(spaces, 60)
    seen = {d["model_name"] for d in found}
    assert seen == {"maskrcnn_resnet18_fpn", "maskrcnn_resnet34_fpn"}
    for drawn in found:
        assert (
            ("min_size" in drawn)
            == (drawn["model_name"] == "maskrcnn_resnet34_fpn")
            == (drawn["momentum"] > 0.5)
        )
