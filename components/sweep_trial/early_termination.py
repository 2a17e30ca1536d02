"""When a trial that does badly is ended: Azure's three policies by their formulas, and two of our own.

A trial's curve holds its real evaluations, in order; interval k is the k-th of them. The performance of a
trial at interval k is the best of its first k values. Trials that haven't come to interval k aren't compared
at it; a trial is always among those it is compared with. All comparisons are strict: who is equal goes on.
Formulas: https://learn.microsoft.com/azure/machine-learning/how-to-tune-hyperparameters#early-termination
"""

from collections.abc import Sequence
from statistics import fmean, median

from maskline.sweep import (
    AshaPolicy,
    BanditPolicy,
    ClosingBanditPolicy,
    EarlyTerminationPolicy,
    MedianStoppingPolicy,
    TruncationSelectionPolicy,
)

Curve = Sequence[float]
CLOSING = 3.5
"""How fast a closing bandit's slack closes; `make bench ONLY=early_termination` measures it."""


def applies(policy: EarlyTerminationPolicy, interval: int) -> bool:
    """Whether a policy looks at interval 1, 2 ... at all."""
    return interval % max(1, policy.evaluation_interval) == 0 and interval >= policy.delay_evaluation


def why_ended(policy: EarlyTerminationPolicy, curve: Curve, others: Sequence[Curve]) -> str:
    """Why a policy ends a trial at its last evaluation; empty if the trial goes on.

    Args:
        policy: the policy.
        curve: the trial's values so far, higher is better.
        others: the same of all other trials, of those that have ended too.
    """
    interval = len(curve)
    if not applies(policy, interval):
        return ""
    reached = [list(other)[:interval] for other in others if len(other) >= interval] + [list(curve)]
    match policy:
        case BanditPolicy():
            rule = _behind_best(policy, curve, reached)
        case ClosingBanditPolicy():
            slack = _slack(policy, interval)
            rule = _behind_best(BanditPolicy(slack_factor=slack), curve, reached) if slack else ""
        case MedianStoppingPolicy():
            limit = median(fmean(values) for values in reached)
            rule = f"is below {limit:.4f}, the median of running averages" if max(curve) < limit else ""
        case TruncationSelectionPolicy():
            rule = _among_lowest(policy, curve, reached)
        case AshaPolicy():
            rule = _not_promoted(policy, curve, reached)
        case _:
            raise TypeError(f"{policy!r} is no policy")
    return f"best value {max(curve):.4f} at evaluation {interval} {rule}" if rule else ""


def _behind_best(policy: BanditPolicy, curve: Curve, reached: Sequence[Curve]) -> str:
    best = max(map(max, reached))
    limit = best / (1 + policy.slack_factor) if policy.slack_factor else best - policy.slack_amount
    return f"is below {limit:.4f}, the best trial's {best:.4f} less the slack" if max(curve) < limit else ""


def _slack(policy: ClosingBanditPolicy, interval: int) -> float:
    """0 from the last evaluation on."""
    left = (policy.evaluations - interval) / (policy.evaluations - policy.delay_evaluation)
    return policy.slack_factor * float(max(0.0, left) ** CLOSING)


def _among_lowest(policy: TruncationSelectionPolicy, curve: Curve, reached: Sequence[Curve]) -> str:
    """Ended are the lowest floor(n * p / 100); of equals at the border none is."""
    ended = len(reached) * policy.truncation_percentage // 100
    rank_from_below = sum(max(values) <= max(curve) for values in reached)
    return f"is among the lowest {ended} of {len(reached)} trials" if rank_from_below <= ended else ""


def _not_promoted(policy: AshaPolicy, curve: Curve, reached: Sequence[Curve]) -> str:
    """At a rung, the best floor(n / reduction_factor) go on, at least one; of equals at the border all do."""
    if len(curve) not in _rungs(policy, len(curve)):
        return ""
    kept = max(1, len(reached) // policy.reduction_factor)
    ahead = sum(max(values) > max(curve) for values in reached)
    return f"is not among the best {kept} of {len(reached)} trials" if ahead >= kept else ""


def _rungs(policy: AshaPolicy, last: int) -> list[int]:
    """The evaluations at which successive halving looks, up to the last: multiples of evaluation_interval."""
    step = max(1, policy.evaluation_interval)
    rung = max(1, -(-policy.delay_evaluation // step)) * step
    found = []
    while rung <= last:
        found.append(rung)
        rung *= policy.reduction_factor
    return found
