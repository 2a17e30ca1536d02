import math

import pytest

from maskline.errors import JobError, KeywordError
from maskline.search_space import (
    NOT_SWEEPABLE,
    SWEEPABLE,
    Choice,
    Distribution,
    LogNormal,
    LogUniform,
    Normal,
    QLogNormal,
    QLogUniform,
    QNormal,
    QUniform,
    Randint,
    SearchSpace,
    Uniform,
)
from maskline.settings import StochasticOptimizer, TrainingSettings

BY_WORD = {
    "uniform": Uniform(1, 2),
    "loguniform": LogUniform(0.5, 1),
    "quniform": QUniform(1, 9, 2),
    "qloguniform": QLogUniform(1, 2, 1),
    "normal": Normal(4, 1),
    "lognormal": LogNormal(1, 1),
    "qnormal": QNormal(4, 1, 1),
    "qlognormal": QLogNormal(1, 1, 1),
    "randint": Randint(4),
}
SMALL = {
    "uniform": Uniform(0.1, 0.2),
    "loguniform": LogUniform(-7, -4),
    "quniform": QUniform(0.1, 0.9, 0.1),
    "qloguniform": QLogUniform(-3, -1, 0.05),
    "normal": Normal(0.9, 0.1),
    "lognormal": LogNormal(-2, 1),
    "qnormal": QNormal(0.5, 0.1, 0.1),
    "qlognormal": QLogNormal(-2, 1, 0.1),
    "randint": Randint(2),
}
ON_INT = {"quniform", "qloguniform", "qnormal", "qlognormal", "randint"}


def problems(**knobs: object) -> list[str]:
    with pytest.raises(JobError) as caught:
        SearchSpace(**knobs)
    return list(caught.value.problems)


@pytest.mark.parametrize("word", BY_WORD)
def test_which_distribution_a_kind_of_parameter_allows(word: str) -> None:
    assert SearchSpace(momentum=SMALL[word]).momentum == SMALL[word]
    if word in ON_INT:
        assert SearchSpace(warmup_cosine_lr_warmup_epochs=BY_WORD[word])
    else:
        (line,) = problems(warmup_cosine_lr_warmup_epochs=BY_WORD[word])
        assert "warmup_cosine_lr_warmup_epochs=" in line
        assert "randint" in line
    for name in ("nesterov", "model_name", "optimizer"):
        (line,) = problems(**{name: BY_WORD[word]})
        assert line.endswith("use choice")


def test_choices_and_literals_get_the_parameters_type() -> None:
    space = SearchSpace(
        learning_rate=Choice([1, "1e-3"]),
        min_size=Choice([600.0, "800"]),
        early_stopping=Choice([1, "no"]),
        optimizer=Choice(["SGD", StochasticOptimizer.ADAMW]),
        number_of_epochs=5.0,
        learning_rate_scheduler="WarmupCosine",
    )
    assert space.learning_rate.values == (1.0, 0.001)
    assert space.min_size.values == (600, 800)
    assert space.early_stopping.values == (True, False)
    assert space.optimizer.values == ("sgd", "adamw")
    assert space.number_of_epochs == 5
    assert space.learning_rate_scheduler == "warmup_cosine"
    assert space.momentum is None


def test_sweepable_are_all_but_five() -> None:
    assert len(SWEEPABLE) == 40
    assert set(SWEEPABLE) | NOT_SWEEPABLE == set(TrainingSettings.model_fields)
    for name in NOT_SWEEPABLE:
        assert problems(**{name: 1}) == [f"{name} can't be swept; set it in training_parameters"]


def test_unknown_names_say_which_was_meant() -> None:
    with pytest.raises(TypeError, match=r"min_sise .* did you mean min_size\?"):
        SearchSpace(min_sise=Choice([1]))
    with pytest.raises(AttributeError, match="did you mean min_size"):
        _ = SearchSpace().min_sise


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("learning_rate", Uniform(0, 0.1), "learning_rate.min_value=0 is outside (0, 1]"),
        ("learning_rate", Uniform(0.1, 2), "learning_rate.max_value=2 is outside (0, 1]"),
        ("learning_rate", LogUniform(-5, 0.01), "max_value=0.01, a draw of 1.01005,"),
        ("learning_rate", LogUniform(-5, 1e4), "inf"),
        ("learning_rate", Choice([0.1, 3]), "learning_rate.values[1]=3 is outside (0, 1]"),
        ("learning_rate", Normal(-1, 0.1), "learning_rate.mu=-1 is outside (0, 1]"),
        ("weight_decay", LogNormal(1, 1), "natural logarithm"),
        ("beta1", QUniform(0, 1.5, 0.5), "beta1.max_value=1.5"),
        ("training_batch_size", Randint(4), "training_batch_size.upper=4, a draw of 0, is below 1"),
        ("layers_to_freeze", QUniform(-1, 3, 1), "layers_to_freeze.min_value=-1 is below 0"),
        ("number_of_epochs", QUniform(1.5, 9, 1), "min_value=1.5 must be a whole number"),
        ("number_of_epochs", QNormal(10, 1, 0.5), "q=0.5 must be a whole number"),
        ("number_of_epochs", Choice([1, 2.5]), "number_of_epochs.values[1]=2.5 is not a whole number"),
        ("optimizer", Choice(["sgd", "adamx"]), "did you mean adam"),
        ("nesterov", Choice(["maybe"]), "true or false"),
        ("min_size", 0, "min_size=0 is below 1"),
        ("model_name", 3, "model_name=3 is not text"),
        ("tile_grid_size", Choice(["abc"]), "tile_grid_size.values[0]='abc' is not a grid"),
        ("layers_to_freeze", Choice([None]), "leave it out"),
    ],
)
def test_what_a_parameter_refuses(name: str, wrong: object, words: str) -> None:
    found = "\n".join(problems(**{name: wrong}))
    assert words in found
    assert found.startswith(name)


def test_all_problems_come_at_once() -> None:
    found = problems(learning_rate=Uniform(-1, 2), momentum=Choice([3]), epochs=1, nesterov=Randint(2))
    assert len(found) == 5


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Uniform(2, 1), "min_value=2 is above max_value=1; swap them"),
        (lambda: Uniform(1), "max_value is missing"),
        (lambda: Uniform("a", True), "min_value='a' is not a number; give a number\nmax_value=true"),
        (lambda: Uniform(0, float("nan")), "max_value=nan"),
        (lambda: QUniform(1, 2, 0), "q=0 is not above 0"),
        (lambda: Normal(0, 0), "sigma=0 is not above 0"),
        (lambda: Randint(0), "upper=0 is below 1"),
        (lambda: Choice([]), "values=[] is empty"),
        (lambda: Choice("sgd"), "give a list"),
        (lambda: Uniform(min_value=1, max_vlaue=2), "max_vlaue is not a known name; did you mean max_value?"),
    ],
)
def test_distributions_that_cant_be(make: object, words: str) -> None:
    with pytest.raises(JobError) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)


def test_distributions_are_frozen() -> None:
    with pytest.raises(JobError, match="make a new one"):
        Uniform(0, 1).min_value = 3
    with pytest.raises(AttributeError, match="make a new SearchSpace"):
        SearchSpace().momentum = 1


def test_positional_and_keyword_arguments_as_on_azure() -> None:
    assert Choice([1]) == Choice(values=[1])
    assert Uniform(0.1, 0.2) == Uniform(min_value=0.1, max_value=0.2)
    assert QUniform(1, 9, 2) == QUniform(min_value=1, max_value=9, q=2)
    assert Normal(1, 2) == Normal(mu=1, sigma=2)
    assert QLogNormal(1, 2, 1) == QLogNormal(mu=1, sigma=2, q=1)
    assert Randint(5) == Randint(upper=5)
    assert Uniform(0.1, 0.2) != LogUniform(0.1, 0.2)


@pytest.mark.parametrize("found", [*SMALL.values(), Choice(["a", "b"])])
def test_yaml_form_and_short_form_read_back(found: Distribution) -> None:
    name = "model_name" if isinstance(found, Choice) else "momentum"
    for form in (found, found.plain(), str(found), f"  {found}  "):
        assert getattr(SearchSpace(**{name: form}), name) == found


@pytest.mark.parametrize(
    ("short", "values"),
    [
        ("choice('a','b')", ("a", "b")),
        ("choice(a, b)", ("a", "b")),
        ("choice('(3, 2)', 'two words', 'a,b')", ("(3, 2)", "two words", "a,b")),
        ('choice("it\'s")', ("it's",)),
    ],
)
def test_short_choices_are_parsed_and_not_split(short: str, values: tuple[str, ...]) -> None:
    assert SearchSpace(model_name=short).model_name.values == values


def test_short_forms_of_the_fact_sheet() -> None:
    assert SearchSpace(learning_rate="uniform(0.001,0.01)").learning_rate == Uniform(0.001, 0.01)
    assert SearchSpace(learning_rate="loguniform(-6,-2)").learning_rate == LogUniform(-6, -2)
    assert SearchSpace(number_of_epochs="quniform(1,9,2)").number_of_epochs == QUniform(1, 9, 2)
    assert SearchSpace(layers_to_freeze="randint(5)").layers_to_freeze == Randint(5)
    assert SearchSpace(early_stopping="choice(True, False)").early_stopping.values == (True, False)
    assert problems(early_stopping="choice(1,2.5,True)")[0].startswith("early_stopping.values[1]=2.5")


@pytest.mark.parametrize(
    "short", ["uniform(1)", "uniform(1,2,3)", "choice()", "uniform(a,b)", "choice(__import__('os').getcwd())"]
)
def test_short_forms_that_cant_be_read(short: str) -> None:
    assert problems(learning_rate=short)[0].startswith("learning_rate.")


def test_bounds_are_the_draws_ends() -> None:
    assert LogUniform(0, 1).bounds() == (1.0, math.e)
    assert Randint(5).bounds() == (0, 4)
    assert Choice([3, 1]).bounds() == (1, 3)
    assert Choice(["a"]).bounds() is None
    assert Normal(0, 1).bounds() is None


def test_unknown_distribution() -> None:
    assert "choose one of choice" in problems(momentum={"type": "beta"})[0]
    assert problems(momentum={"min_value": 1})[0].startswith("momentum.type is missing")
    with pytest.raises(KeywordError):
        SearchSpace(momentum={"type": "uniform", "min_value": 0.1, "max_value": 0.2, "q": 3})


def test_equality_ignores_the_order_of_names() -> None:
    one = SearchSpace(momentum=Uniform(0.1, 0.2), min_size=600)
    assert one == SearchSpace(min_size=600, momentum=Uniform(0.1, 0.2))
    assert one != SearchSpace(min_size=600)
    assert list(one) == ["momentum", "min_size"]
