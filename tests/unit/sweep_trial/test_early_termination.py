"""Each policy on a table worked by hand. A row is a trial, a column an evaluation."""

import pytest

from maskline.components.sweep_trial.early_termination import applies, why_ended
from maskline.sweep import (
    AshaPolicy,
    BanditPolicy,
    ClosingBanditPolicy,
    EarlyTerminationPolicy,
    MedianStoppingPolicy,
    TruncationSelectionPolicy,
)

#     interval  1     2     3     4
A = [0.10, 0.50, 0.80, 0.70]  # best so far 0.10 0.50 0.80 0.80; running average at 4: 0.525
B = [0.20, 0.45, 0.60, 0.66]  # 0.20 0.45 0.60 0.66; 0.4775
C = [0.30, 0.20, 0.10, 0.40]  # 0.30 0.30 0.30 0.40; 0.25
D = [0.30, 0.50]  # 0.30 0.50; did not come to interval 3
TABLE = {"A": A, "B": B, "C": C, "D": D}


def ended(policy: EarlyTerminationPolicy, interval: int, table: dict[str, list[float]] = TABLE) -> str:
    """Names of the trials that a policy ends at an interval, all having come as far as they stand there."""
    reached = {name: curve for name, curve in table.items() if len(curve) >= interval}
    return "".join(
        name
        for name, curve in reached.items()
        if why_ended(policy, curve[:interval], [other for key, other in table.items() if key != name])
    )


def test_the_table_of_the_sheet() -> None:
    # B = 0.8 and slack 0.2: below 0.8 / 1.2 = 0.6667 is ended.
    assert ended(BanditPolicy(slack_factor=0.2), 1, {"x": [0.8], "y": [0.666], "z": [0.667]}) == "y"


def test_bandit_by_factor() -> None:
    policy = BanditPolicy(slack_factor=0.25)
    assert ended(policy, 1) == "AB"  # best 0.30; below 0.24: 0.10 and 0.20
    assert ended(policy, 2) == "C"  # best 0.50; below 0.40: 0.30
    assert ended(policy, 3) == "BC"  # best 0.80; below 0.64: 0.60, 0.30
    assert ended(policy, 4) == "C"  # best 0.80 (of interval 3); below 0.64: 0.40


def test_bandit_by_amount() -> None:
    policy = BanditPolicy(slack_amount=0.125)
    table = {"x": [0.5], "y": [0.375], "z": [0.25]}  # exact in binary: y lies on the border, and goes on
    assert ended(policy, 1, table) == "z"
    assert ended(policy, 3) == "BC"  # best 0.80; below 0.675


def test_closing_bandit() -> None:
    policy = ClosingBanditPolicy(slack_factor=1, delay_evaluation=1, evaluations=5)
    best = [0.6] * 6
    # slacks 1, 0.75 ** 3.5 = 0.3654, 0.5 ** 3.5 = 0.0884, 0.25 ** 3.5 = 0.0078
    # limits 0.3, 0.4394, 0.5513, 0.5953
    for interval, ended_at, goes_on in (
        (1, 0.299, 0.3),
        (2, 0.439, 0.44),
        (3, 0.551, 0.552),
        (4, 0.595, 0.596),
    ):
        assert "is below" in why_ended(policy, [ended_at] * interval, [best])
        assert why_ended(policy, [goes_on] * interval, [best]) == ""
    for interval in (5, 6):  # nothing is left to save
        assert why_ended(policy, [0.0] * interval, [best]) == ""
    late = ClosingBanditPolicy(slack_factor=1, delay_evaluation=2, evaluations=5)
    assert why_ended(late, [0.0], [best]) == ""


def test_median() -> None:
    policy = MedianStoppingPolicy()
    # averages 0.10 0.20 0.30 0.30: median 0.25
    assert ended(policy, 1) == "AB"
    # averages 0.30 0.325 0.25 0.40: median 0.3125; best values 0.50 0.45 0.30 0.50
    assert ended(policy, 2) == "C"
    # averages 0.4667 0.4167 0.20: median 0.4167; best values 0.80 0.60 0.30
    assert ended(policy, 3) == "C"
    # averages 0.525 0.4775 0.25: median 0.4775; best values 0.80 0.66 0.40
    assert ended(policy, 4) == "C"


def test_median_with_an_even_number_is_between_the_middle_two() -> None:
    assert ended(MedianStoppingPolicy(), 1, {"x": [0.1], "y": [0.3]}) == "x"  # median 0.2
    assert ended(MedianStoppingPolicy(), 1, {"x": [0.25], "y": [0.25]}) == ""


def test_truncation() -> None:
    # interval 1: values 0.10 0.20 0.30 0.30
    assert ended(TruncationSelectionPolicy(truncation_percentage=24), 1) == ""  # floor(0.96) = 0 of 4
    assert ended(TruncationSelectionPolicy(truncation_percentage=25), 1) == "A"
    assert ended(TruncationSelectionPolicy(truncation_percentage=50), 1) == "AB"
    # 3 of 4; the third is one of two equals, of which none is ended
    assert ended(TruncationSelectionPolicy(truncation_percentage=75), 1) == "AB"
    assert ended(TruncationSelectionPolicy(truncation_percentage=99), 3) == "BC"  # floor(2.97) = 2 of 3
    assert ended(TruncationSelectionPolicy(truncation_percentage=99), 1, {"x": [0.1]}) == ""


def test_asha() -> None:
    policy = AshaPolicy(reduction_factor=2)  # rungs at 1, 2, 4
    assert ended(policy, 1) == "AB"  # the best 2 of 4 go on: 0.30 twice
    assert ended(policy, 2) == "BC"  # 0.50 twice
    assert ended(policy, 3) == ""  # no rung
    assert ended(policy, 4) == "BC"  # the best 1 of 3
    three = {"x": [0.1], "y": [0.2], "z": [0.2]}
    assert ended(AshaPolicy(reduction_factor=3), 1, three) == "x"  # the best 1 of 3; equals go on together
    assert ended(AshaPolicy(), 1, {"x": [0.1]}) == ""  # the first to come goes on


@pytest.mark.parametrize(
    ("policy", "rungs"),
    [
        (AshaPolicy(reduction_factor=3), [1, 3, 9, 27]),
        (AshaPolicy(reduction_factor=3, delay_evaluation=2), [2, 6, 18]),
        (AshaPolicy(reduction_factor=2, delay_evaluation=3, evaluation_interval=2), [4, 8, 16]),
    ],
)
def test_rungs(policy: AshaPolicy, rungs: list[int]) -> None:
    better = [[1.0] * 30, [0.9] * 30]
    assert [k for k in range(1, 31) if why_ended(policy, [0.1] * k, better)] == rungs


@pytest.mark.parametrize(
    ("interval", "delay", "looks"),
    [
        (0, 0, [1, 2, 3, 4, 5, 6, 7, 8]),  # Azure's default interval
        (1, 3, [3, 4, 5, 6, 7, 8]),
        (2, 0, [2, 4, 6, 8]),
        (2, 3, [4, 6, 8]),
        (3, 6, [6]),
    ],
)
def test_when_a_policy_looks(interval: int, delay: int, looks: list[int]) -> None:
    policy = BanditPolicy(slack_factor=0.1, evaluation_interval=interval, delay_evaluation=delay)
    assert [k for k in range(1, 9) if applies(policy, k)] == looks
    assert [k for k in range(1, 9) if why_ended(policy, [0.1] * k, [[0.9] * 8])] == looks


def test_the_only_trial_and_the_best_one_go_on() -> None:
    for policy in (
        BanditPolicy(slack_factor=0.01),
        BanditPolicy(slack_amount=0.01),
        MedianStoppingPolicy(),
        TruncationSelectionPolicy(truncation_percentage=99),
        AshaPolicy(),
        ClosingBanditPolicy(slack_factor=0.01, evaluations=9),
    ):
        assert why_ended(policy, [0.0], []) == ""
        assert why_ended(policy, [0.5, 0.4], [[0.3, 0.39], [0.2, 0.1]]) == ""


def test_the_reason_names_numbers() -> None:
    reason = why_ended(BanditPolicy(slack_factor=0.25), C, [A, B])
    assert (
        reason == "best value 0.4000 at evaluation 4 is below 0.6400, the best trial's 0.8000 less the slack"
    )
