"""What early termination costs and saves, on learning curves that were recorded from real trainings.

`learning_curves.json` holds those on fruits_nuts, `learning_curves_drawn.json` ten on drawn shapes,
where most settings do well and curves cross: `record_curves` says how they were made. A sweep is
replayed by giving its trials in some order, one at a time, to a policy, which sees what the trials
before it did, up to where they were ended. A sweep is as good as the full budget's if its best score is
within 0.005 of the best of all.

AutoMode's slack was chosen on all of these curves; other data may say otherwise.
"""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

from maskline.automode import policy
from maskline.components.sweep_trial.early_termination import why_ended
from maskline.sweep import (
    AshaPolicy,
    BanditPolicy,
    EarlyTerminationPolicy,
    MedianStoppingPolicy,
    TruncationSelectionPolicy,
)

from .harness import Figure

CURVES = Path(__file__).with_name("learning_curves.json")
DRAWN = Path(__file__).with_name("learning_curves_drawn.json")
ORDERS = 200
NEAR = 0.005
Curve = list[float]
OTHERS: dict[str, EarlyTerminationPolicy | None] = {
    "none": None,
    "bandit, Azure's samples": BanditPolicy(slack_factor=0.2, evaluation_interval=2, delay_evaluation=6),
    "median, Azure's advice": MedianStoppingPolicy(evaluation_interval=1, delay_evaluation=5),
    "truncation 20 %, delay 5": TruncationSelectionPolicy(truncation_percentage=20, delay_evaluation=5),
    "truncation 50 %, delay 5": TruncationSelectionPolicy(truncation_percentage=50, delay_evaluation=5),
    "asha": AshaPolicy(),
    "asha, delay 5": AshaPolicy(delay_evaluation=5),
    "bandit, slack 0.75, delay 6": BanditPolicy(slack_factor=0.75, evaluation_interval=1, delay_evaluation=6),
}


def measure() -> Iterator[Figure]:
    """Share of the epochs that AutoMode's policy spends, and how often it finds the best."""
    spent, found = _table(CURVES)
    yield Figure("early_termination.epochs", spent, 0.55, "lower", "no policy")
    yield Figure("early_termination.best_found", found, 0.95, "higher", "no policy")
    _, found = _table(DRAWN)
    yield Figure("early_termination.best_found_drawn", found, 0.95, "higher", "no policy")


def _table(recorded: Path) -> tuple[float, float]:
    """Print what every policy does; epochs spent and best found of AutoMode's."""
    curves = [record["scores"] for record in json.loads(recorded.read_text(encoding="utf-8"))["trainings"]]
    print(f"{recorded.name}: {len(curves)} trainings, {ORDERS} orders: epochs spent, best found")
    for name, other in {**OTHERS, "AutoMode": policy(max(map(len, curves)))}.items():
        spent, found = replay(other, curves)
        print(f"  {name:<28}{spent:>7.1%}{found:>8.1%}")
    return spent, found


def replay(policy: EarlyTerminationPolicy | None, curves: list[Curve]) -> tuple[float, float]:
    """Mean share of epochs spent, and share of orders in which a score near the best was found."""
    chance, full, best = random.Random(0), sum(map(len, curves)), max(map(max, curves))
    outcomes = [_sweep(policy, chance.sample(curves, len(curves))) for _ in range(ORDERS)]
    return fmean(spent / full for spent, _ in outcomes), fmean(top >= best - NEAR for _, top in outcomes)


def _sweep(policy: EarlyTerminationPolicy | None, order: list[Curve]) -> tuple[int, float]:
    """Epochs spent and best score of one sweep."""
    seen: list[Curve] = []
    for curve in order:
        ends = range(1, len(curve) + 1) if policy else ()
        last = next((k for k in ends if policy and why_ended(policy, curve[:k], seen)), len(curve))
        seen.append(curve[:last])
    return sum(map(len, seen)), max(map(max, seen))
