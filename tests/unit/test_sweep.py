from datetime import timedelta

import pytest

from maskline import sweep
from maskline.errors import JobError
from maskline.sweep import (
    AshaPolicy,
    BanditPolicy,
    ClosingBanditPolicy,
    GridSamplingAlgorithm,
    ImageLimitSettings,
    ImageSweepSettings,
    MedianStoppingPolicy,
    RandomSamplingAlgorithm,
    TruncationSelectionPolicy,
)


def test_defaults_are_azures() -> None:
    assert (
        BanditPolicy(slack_factor=0.1).evaluation_interval,
        BanditPolicy(slack_amount=1).delay_evaluation,
    ) == (0, 0)
    assert (MedianStoppingPolicy().evaluation_interval, MedianStoppingPolicy().delay_evaluation) == (1, 0)
    assert TruncationSelectionPolicy(truncation_percentage=5).evaluation_interval == 0
    limits = ImageLimitSettings()
    assert (limits.max_trials, limits.max_concurrent_trials, limits.timeout_minutes) == (1, 1, 10080)
    assert limits.plain() == {}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: BanditPolicy(), "a bandit has one of them"),
        (lambda: BanditPolicy(slack_factor=0.1, slack_amount=0.1), "a bandit has one of them"),
        (lambda: BanditPolicy(slack_factor=-1), "slack_factor=-1 is below 0"),
        (lambda: BanditPolicy(slack_factor=1, evaluation_interval=-1), "evaluation_interval=-1 is below 0"),
        (lambda: MedianStoppingPolicy(delay_evaluation=-2), "delay_evaluation=-2 is below 0"),
        (lambda: TruncationSelectionPolicy(), "truncation_percentage is missing"),
        (lambda: TruncationSelectionPolicy(truncation_percentage=0), "outside [1, 99]"),
        (lambda: TruncationSelectionPolicy(truncation_percentage=100), "outside [1, 99]"),
        (lambda: TruncationSelectionPolicy(truncation_percentage=9.5), "not a whole number"),
        (lambda: TruncationSelectionPolicy(truncation_percentage=9, exclude_finished_jobs=True), "remove it"),
        (lambda: ImageLimitSettings(max_trials=0), "max_trials=0 is outside [1, 1000]"),
        (lambda: ImageLimitSettings(max_trials=1001), "max_trials=1001 is outside [1, 1000]"),
        (lambda: ImageLimitSettings(max_concurrent_trials=101), "outside [1, 100]"),
        (lambda: ImageLimitSettings(timeout_minutes=86401), "outside [1, 86400]"),
        (lambda: ImageLimitSettings(timeout_minutes=timedelta(seconds=90)), "1.5 is not a whole number"),
        (lambda: ImageLimitSettings(max_trials=True), "max_trials=true is not a number"),
        (
            lambda: ImageLimitSettings(trial_timeout_minutes=0),
            "trial_timeout_minutes=0 is outside",
        ),
        (lambda: ImageLimitSettings(max_process_deaths=0), "max_process_deaths=0 is outside [1, 100]"),
        (lambda: ClosingBanditPolicy(slack_factor=0, evaluations=5), "slack_factor=0 "),
        (lambda: ClosingBanditPolicy(delay_evaluation=5, evaluations=5), "no evaluation to close by"),
        (lambda: AshaPolicy(reduction_factor=1), "reduction_factor=1 is below 2"),
        (lambda: ImageLimitSettings(max_nodes=5), "use max_concurrent_trials"),
        (lambda: ImageSweepSettings(), "sampling_algorithm is missing"),
        (lambda: ImageSweepSettings(sampling_algorithm="evolution"), "choose one of random, grid, bayesian"),
        (lambda: ImageSweepSettings(sampling_algorithm="random", early_termination="bandit"), "not a policy"),
        (lambda: ImageSweepSettings(sampling_algorithm="grid", early_termination={}), "type is missing"),
    ],
)
def test_what_is_refused(make: object, words: str) -> None:
    with pytest.raises(JobError) as caught:
        make()  # type: ignore[operator]
    assert words in str(caught.value)


def test_timeout_as_timedelta_and_ends_of_ranges() -> None:
    limits = ImageLimitSettings(
        max_trials=1000, max_concurrent_trials=100, timeout_minutes=timedelta(days=60)
    )
    assert limits.timeout_minutes == 86400
    assert limits.concurrent_trials == 100
    assert ImageLimitSettings(max_trials=3, max_concurrent_trials=8).concurrent_trials == 3
    limits.max_trials = 2
    assert limits.plain()["max_trials"] == 2
    with pytest.raises(JobError, match="max_trials=0"):
        limits.max_trials = 0


def test_sampling_words_in_every_form() -> None:
    for form in (
        "random",
        "Random",
        sweep.SamplingAlgorithm.RANDOM,
        {"type": "random"},
        RandomSamplingAlgorithm(),
    ):
        assert ImageSweepSettings(sampling_algorithm=form).sampling_algorithm == "random"
    assert ImageSweepSettings(sampling_algorithm=GridSamplingAlgorithm()).sampling_algorithm == "grid"
    seeded = ImageSweepSettings(sampling_algorithm={"type": "random", "seed": 3, "rule": "sobol"})
    assert seeded.plain() == {"sampling_algorithm": {"type": "random", "rule": "sobol", "seed": 3}}


def test_policies_read_back_from_plain_data_and_tell_only_what_was_set() -> None:
    for policy in (
        BanditPolicy(slack_factor=0.2, delay_evaluation=6),
        MedianStoppingPolicy(),
        AshaPolicy(delay_evaluation=2),
        ClosingBanditPolicy(evaluations=12),
        TruncationSelectionPolicy(truncation_percentage=20, evaluation_interval=1),
    ):
        settings = ImageSweepSettings(sampling_algorithm="random", early_termination=policy)
        assert ImageSweepSettings(**settings.plain()) == settings
    assert MedianStoppingPolicy().plain() == {"type": "median_stopping"}


def test_policies_as_azure_dumps_them() -> None:
    dumped = {"type": "bandit", "slack_factor": 0.2, "slack_amount": 0.0, "evaluation_interval": 2}
    settings = ImageSweepSettings(sampling_algorithm="random", early_termination=dumped)
    assert isinstance(settings.early_termination, BanditPolicy)


def test_all_names_are_there() -> None:
    assert all(hasattr(sweep, name) for name in sweep.__all__)
