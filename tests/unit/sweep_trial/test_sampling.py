"""Which points of a search space are tried: each sampler, and the law of each distribution."""

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import NormalDist
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from maskline import study
from maskline.automl import SearchSpace
from maskline.components.sweep_trial.propose import draw, propose
from maskline.components.sweep_trial.sampling import Grid, TrialSampler, make_sampler, spread
from maskline.components.sweep_trial.warm_start import warm_start
from maskline.distributions import Distribution
from maskline.errors import StageError
from maskline.settings import complete
from maskline.sweep import (
    Choice,
    ImageSweepSettings,
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

optuna.logging.set_verbosity(optuna.logging.ERROR)
DRAWS = 10_000
ALGORITHMS: dict[str, Any] = {
    "random": "random",
    "sobol": {"type": "random", "rule": "sobol"},
    "grid": "grid",
    "bayesian": "bayesian",
}


class OneTrial:
    """As much of an Optuna trial as a draw needs, from the run's sampler; ten thousand cost a second."""

    def __init__(self, number: int) -> None:
        self._trial = optuna.trial.create_trial(value=0.0, user_attrs={"number": number})
        self._sampler = TrialSampler(7)

    def _ask(self, name: str, distribution: Any) -> Any:
        return self._sampler.sample_independent(None, self._trial, name, distribution)  # type: ignore[arg-type]

    def suggest_categorical(self, name: str, choices: list[Any]) -> Any:
        return self._ask(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int) -> Any:
        return self._ask(name, IntDistribution(low, high))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> Any:
        return self._ask(name, FloatDistribution(low, high, log=log))


def drawn(name: str, knob: Distribution) -> list[Any]:
    return [draw(OneTrial(number), name, knob, name) for number in range(DRAWS)]  # type: ignore[arg-type]


def between(low: float, high: float) -> Callable[[float], float]:
    return lambda x: min(1.0, max(0.0, (x - low) / (high - low)))


def normal(mu: float, sigma: float) -> Callable[[float], float]:
    return NormalDist(mu, sigma).cdf


def log(law: Callable[[float], float]) -> Callable[[float], float]:
    return lambda x: law(math.log(x)) if x > 0 else 0.0


@pytest.mark.parametrize(
    ("name", "knob", "law"),
    [
        ("momentum", Uniform(0.2, 0.6), between(0.2, 0.6)),
        ("learning_rate", LogUniform(-7, -4), log(between(-7, -4))),
        ("momentum", Normal(0.5, 0.05), normal(0.5, 0.05)),
        ("weight_decay", LogNormal(-9, 0.5), log(normal(-9, 0.5))),
    ],
)
def test_the_law_of_what_is_continuous(name: str, knob: Distribution, law: Callable[[float], float]) -> None:
    """Kolmogorov and Smirnov: the empirical law keeps within 1.95 / sqrt(n), 0.999 of all such samples do."""
    found = sorted(drawn(name, knob))
    steps = [(law(x), i / DRAWS, (i + 1) / DRAWS) for i, x in enumerate(found)]
    assert max(max(abs(p - low), abs(p - high)) for p, low, high in steps) < 1.95 / math.sqrt(DRAWS)


@pytest.mark.parametrize(
    ("name", "knob", "law", "q"),
    [
        ("number_of_epochs", QUniform(10, 40, 5), between(10, 40), 5),
        ("step_lr_gamma", QUniform(0.2, 0.8, 0.1), between(0.2, 0.8), 0.1),
        ("training_batch_size", QLogUniform(1, 3, 1), log(between(1, 3)), 1),
        ("max_size", QNormal(1333, 100, 32), normal(1333, 100), 32),
        ("step_lr_step_size", QLogNormal(2, 0.5, 2), log(normal(2, 0.5)), 2),
    ],
)
def test_the_law_of_what_is_rounded(
    name: str, knob: Distribution, law: Callable[[float], float], q: float
) -> None:
    """round(x / q) * q is k q where x lies within q / 2 of it; what is below the range is its low end."""
    found = drawn(name, knob)
    steps = {value: round(value / q) for value in set(found)}
    assert all(value == pytest.approx(step * q) or value == 1 for value, step in steps.items())
    lowest = min(steps.values())
    chances = {
        value: law((step + 0.5) * q) - (0.0 if step == lowest else law((step - 0.5) * q))
        for value, step in steps.items()
    }
    assert sum(chances.values()) == pytest.approx(1, abs=0.002)
    fits(Counter(found), chances)


def test_the_law_of_choice_and_randint() -> None:
    fits(Counter(drawn("layers_to_freeze", Randint(5))), dict.fromkeys(range(5), 0.2))
    words = ["sgd", "adam", "adamw"]
    fits(Counter(drawn("optimizer", Choice(words))), dict.fromkeys(words, 1 / 3))


def fits(counts: Counter[Any], chances: dict[Any, float]) -> None:
    """Each count is within 4.5 standard deviations of its binomial law's mean, and there are no others."""
    assert set(counts) <= set(chances)
    for value, chance in chances.items():
        assert abs(counts[value] - DRAWS * chance) < 4.5 * math.sqrt(DRAWS * chance * (1 - chance)) + 1


def test_equal_ends_are_one_value() -> None:
    for knob, value in (
        (Uniform(0.5, 0.5), 0.5),
        (LogUniform(-1, -1), math.exp(-1)),
        (QUniform(0.4, 0.4, 0.1), 0.4),
    ):
        (found,) = set(drawn("momentum", knob))
        assert found == pytest.approx(value)


@pytest.mark.parametrize("algorithm", ["random", "sobol", "bayesian"])
def test_equal_ends_suit_every_sampler(algorithm: str) -> None:
    space = [SearchSpace(momentum=Uniform(0.5, 0.5), learning_rate=LogUniform(-6, -6))]
    for point in sweep(space, algorithm, 12):
        assert point == {"momentum": 0.5, "learning_rate": pytest.approx(math.exp(-6))}


def sweep(
    spaces: list[SearchSpace],
    algorithm: str,
    trials: int,
    seed: int = 3,
    score: Callable[[dict], float] = len,
) -> list[dict[str, Any]]:
    """What trials that run one at a time try; each asks with a sampler of its own, as processes do."""
    study = optuna.create_study(direction="maximize")
    found = []
    for _ in range(trials):
        settings_ = ImageSweepSettings(sampling_algorithm=ALGORITHMS[algorithm])
        study.sampler = make_sampler(settings_, spaces, seed)
        trial = study.ask()
        point, _ = propose(trial, spaces, {})
        study.tell(trial, score(point))
        found.append(point)
    return found


KNOBS: dict[str, list[Any]] = {
    "learning_rate": [Uniform(0.001, 0.1), LogUniform(-7, -4), Choice([0.01, 0.02]), 0.005],
    "momentum": [Normal(0.9, 0.2), QUniform(0.1, 0.9, 0.2), Choice([0.8, 0.9]), Uniform(0.5, 0.5)],
    "layers_to_freeze": [Randint(4), QNormal(2, 1, 1), Choice([0, 3])],
    "optimizer": [Choice(["sgd", "adamw"]), "adam"],
    "weight_decay": [LogNormal(-9, 1), QLogNormal(-3, 1, 0.01)],
    "training_batch_size": [QLogUniform(0, 2, 1), 2, Choice([1, 2, 4])],
}
MODELS = ["maskrcnn_resnet18_fpn", "maskrcnn_resnet34_fpn", "maskrcnn_resnet50_fpn"]


@st.composite
def conditional(draw_: Any, grid: bool) -> list[SearchSpace]:
    """One to three sub-spaces, each of a model of its own with some parameters."""
    spaces = []
    for model in MODELS[: draw_(st.integers(1, 3))]:
        names = draw_(st.lists(st.sampled_from(sorted(KNOBS)), unique=True, max_size=4))
        listed = lambda knob: not isinstance(knob, Distribution) or isinstance(knob, Choice | Randint)  # noqa: E731
        legal = {name: [k for k in KNOBS[name] if not grid or listed(k)] for name in names}
        knobs = {name: draw_(st.sampled_from(some)) for name, some in legal.items() if some}
        spaces.append(SearchSpace(model_name=Choice([model]), **knobs))
    return spaces


def legal(point: dict[str, Any], spaces: list[SearchSpace]) -> bool:
    """Whether a point has just the parameters of the sub-space of its model, each as that allows."""
    (space,) = [s for s in spaces if s.model_name.values[0] == point["model_name"]]
    complete(point)
    return set(point) == set(space.knobs) and all(
        value in knob.values if isinstance(knob, Choice) else isinstance(knob, Distribution) or value == knob
        for value, knob in ((point[name], space.knobs[name]) for name in point)
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=10, deadline=None, derandomize=True)
@given(data=st.data())
def test_conditional_spaces_are_legal_for_every_sampler(algorithm: str, data: st.DataObject) -> None:
    spaces = data.draw(conditional(grid=algorithm == "grid"))
    trials = min(14, len(Grid(spaces, {}))) if algorithm == "grid" else 14
    points = sweep(spaces, algorithm, trials)
    assert all(legal(point, spaces) for point in points)
    assert points == sweep(spaces, algorithm, trials)  # the same seed, the same proposals


SPACES = [
    SearchSpace(model_name="maskrcnn_resnet18_fpn", momentum=Choice([0.8, 0.9]), layers_to_freeze=Randint(3)),
    SearchSpace(model_name="maskrcnn_resnet34_fpn", min_size=Choice([600, 800])),
]


def test_a_grid_is_the_whole_product_in_its_order() -> None:
    small, large = {"model_name": "maskrcnn_resnet18_fpn"}, {"model_name": "maskrcnn_resnet34_fpn"}
    assert sweep(SPACES, "grid", 8) == [
        *(small | {"momentum": m, "layers_to_freeze": n} for m in (0.8, 0.9) for n in (0, 1, 2)),
        *(large | {"min_size": size} for size in (600, 800)),
    ]
    assert len(Grid(SPACES, {})) == 8
    assert len(Grid(SPACES, {"momentum": 0.5})) == 5
    assert Grid(SPACES, {}).point(8) == {}


def test_a_huge_grid_costs_nothing() -> None:
    space = SearchSpace(
        learning_rate=Choice([n / 2000 for n in range(1, 1000)]),
        momentum=Choice([n / 1000 for n in range(1000)]),
    )
    assert Grid([space], {}).point(123_456) == {"learning_rate": 124 / 2000, "momentum": 0.456}


def test_a_grid_over_a_range_is_refused() -> None:
    with pytest.raises(StageError, match="momentum=uniform.* has no list of values for a grid"):
        Grid([SearchSpace(momentum=Uniform(0.1, 0.9))], {})


def test_a_lost_trial_takes_no_point_of_the_grid() -> None:
    study = optuna.create_study(
        sampler=make_sampler(ImageSweepSettings(sampling_algorithm="grid"), SPACES, 0)
    )
    lost = study.ask()
    first, _ = propose(lost, SPACES, {})
    study.tell(lost, state=TrialState.FAIL)
    study.enqueue_trial(lost.params, user_attrs={"number": 0, "continues": 0})
    again = study.ask()
    assert propose(again, SPACES, {})[0] == first
    assert [propose(study.ask(), SPACES, {})[0] for _ in range(7)] == sweep(SPACES, "grid", 8)[1:]


def test_sobol_spreads_evenly() -> None:
    """Of 64 points of a scrambled sequence each 64th of the range holds one, and each 8 x 8 cell of two."""
    space = [SearchSpace(momentum=Uniform(0, 1), beta1=Uniform(0, 1))]
    points = sweep(space, "sobol", 64)
    for name in ("momentum", "beta1"):
        assert sorted(int(point[name] * 64) for point in points) == list(range(64))
    assert len({(int(p["momentum"] * 8), int(p["beta1"] * 8)) for p in points}) == 64
    assert points != sweep(space, "sobol", 64, seed=4)


def test_tpe_learns() -> None:
    """It closes in on the best point, which is known; random draws of the same number don't."""

    def score(point: dict[str, Any]) -> float:
        return -((point["momentum"] - 0.7) ** 2) - (math.log(point["learning_rate"]) + 5) ** 2 / 9

    space = [SearchSpace(momentum=Uniform(0, 1), learning_rate=LogUniform(-8, -2))]

    def regret(algorithm: str) -> float:
        last = [sweep(space, algorithm, 40, seed, score)[20:] for seed in range(3)]
        return -sum(score(point) for points in last for point in points) / 60

    assert regret("bayesian") < regret("random") / 2


def test_what_runs_is_kept_away_from() -> None:
    """Proposals of trials that run at the same time differ, though nothing was told between them."""
    space = [SearchSpace(momentum=Uniform(0, 1))]
    study = optuna.create_study(direction="maximize")
    for number in range(12):
        study.sampler = make_sampler(ImageSweepSettings(sampling_algorithm="bayesian"), space, 1)
        trial = study.ask()
        study.tell(trial, -abs(propose(trial, space, {})[0]["momentum"] - number / 12))
    found = []
    for _ in range(6):
        study.sampler = make_sampler(ImageSweepSettings(sampling_algorithm="bayesian"), space, 1)
        found.append(propose(study.ask(), space, {})[0]["momentum"])
    assert len(set(found)) == 6


def test_seeds_of_the_long_forms() -> None:
    for kind in ("random", "bayesian"):
        one, same, other = (
            make_first({"type": kind, "seed": seed}, run_seed) for seed, run_seed in ((5, 1), (5, 2), (6, 1))
        )
        assert one == same != other


def make_first(algorithm: dict[str, Any], seed: int) -> dict[str, Any]:
    space = [SearchSpace(momentum=Uniform(0, 1))]
    sampler = make_sampler(ImageSweepSettings(sampling_algorithm=algorithm), space, seed)
    return propose(optuna.create_study(sampler=sampler).ask(), space, {})[0]


def test_spread_keeps_to_its_ends() -> None:
    least, most = 0.0, math.nextafter(1.0, 0.0)
    for distribution, ends in (
        (CategoricalDistribution(["a", "b"]), ("a", "b")),
        (IntDistribution(0, 4), (0, 4)),
        (FloatDistribution(0.1, 0.3), (0.1, 0.3)),
        (FloatDistribution(math.exp(-7), math.exp(-4), log=True), (math.exp(-7), math.exp(-4))),
    ):
        found = spread(least, distribution), spread(most, distribution)
        assert found == (ends if isinstance(ends[0], str) else pytest.approx(ends))
        assert all(distribution._contains(distribution.to_internal_repr(value)) for value in found)


def test_a_warm_start_shows_what_a_former_run_learnt(tmp_path: Path) -> None:
    space = [SearchSpace(momentum=Uniform(0, 1), optimizer=Choice(["sgd", "adamw"]))]
    former = study.open_study(tmp_path / "former")
    former.sampler = TrialSampler(2)
    for _ in range(12):
        trial = former.ask()
        former.tell(trial, propose(trial, space, {})[0]["momentum"])
    lost = former.ask()
    former.tell(lost, state=TrialState.FAIL)
    run = tmp_path / "later"
    later = study.open_study(run)
    narrower = [SearchSpace(momentum=Uniform(0.3, 1), optimizer=Choice(["sgd", "adamw"]))]
    suiting = sum(t.params["momentum"] >= 0.3 for t in former.trials if t.params)
    assert 0 < warm_start(later, narrower, run, "former") == suiting < 12
    assert warm_start(later, narrower, run, str(tmp_path / "former")) == suiting  # once only
    assert study.read_trials(later) == []
    later.sampler = make_sampler(ImageSweepSettings(sampling_algorithm="bayesian"), narrower, 0)
    trial = later.ask()
    assert propose(trial, narrower, {})[0]["momentum"] > 0.6  # what was best there
    assert study.number_of(later, later.trials[-1]) == 0


def test_a_warm_start_from_what_doesnt_suit_is_refused(tmp_path: Path) -> None:
    space, other = [SearchSpace(momentum=Uniform(0, 1))], [SearchSpace(beta1=Uniform(0, 1))]
    former = study.open_study(tmp_path / "former")
    trial = former.ask()
    former.tell(trial, propose(trial, other, {})[0]["beta1"])
    later = study.open_study(tmp_path / "later")
    with pytest.raises(StageError, match="none of its 1 ended trials has parameters and values of this"):
        warm_start(later, space, tmp_path / "later", "former")
    with pytest.raises(StageError, match=r"there is no run .*/formerly"):
        warm_start(later, space, tmp_path / "later", "formerly")
