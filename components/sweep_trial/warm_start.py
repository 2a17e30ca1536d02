"""Trials of a former run, for a sampler to learn from. They are none of this run's, and can't win in it."""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from maskline import study as noun
from maskline.errors import StageError
from maskline.search_space import SearchSpace
from maskline.study_storage import one_at_a_time

from .propose import propose
from .sampling import TrialSampler

_LOOKS = 64
"""Draws that show which distributions a search space has; each shows one sub-space."""


def warm_start(
    study: optuna.Study, spaces: Sequence[SearchSpace], run: Path, former: str, copies: str = ""
) -> int:
    """Show a study what a former run has learnt, once.

    Args:
        study: of this run.
        spaces: its search space.
        run: its directory.
        former: name of a run beside this one, or a run's directory or URI.
        copies: URI where this run is kept, if its directory doesn't outlive the pod.

    Returns:
        How many trials of the former run were taken over: those whose values this space can have.

    Raises:
        StageError: there is no such run, or none of its trials suits this search space.
    """
    with one_at_a_time(study, run):  # slots that begin at once would each do it
        known = [t for t in study.get_trials(deepcopy=False) if noun.FOREIGN in t.user_attrs]
        if known or study.get_trials(deepcopy=False):
            return len(known)
        there = noun.find_run(former, copies or run)
        found = noun.existing_study(there).get_trials(deepcopy=False)
        legal = _distributions(spaces)
        taken = [trial for trial in found if _suits(trial, legal)]
        if not taken:
            raise StageError(
                f"sweep.warm_start_from={former}: none of its {len(found)} ended trials has parameters and "
                "values of this search space; give a run with a similar one, or remove warm_start_from"
            )
        for trial in taken:
            study.add_trial(
                create_trial(
                    state=trial.state,
                    value=trial.value,
                    params=trial.params,
                    distributions={name: legal[name] for name in trial.params},
                    intermediate_values=trial.intermediate_values,
                    user_attrs={noun.FOREIGN: former},
                )
            )
        print(f"{len(taken)} of {len(found)} trials of {former} are learnt from", flush=True)
        return len(taken)


def _distributions(spaces: Sequence[SearchSpace]) -> dict[str, BaseDistribution]:
    """Every distribution of a search space, by Optuna's name."""
    scratch = optuna.create_study(sampler=TrialSampler(0))
    found: dict[str, BaseDistribution] = {}
    for _ in range(_LOOKS if len(spaces) > 1 else 1):
        trial = scratch.ask()
        propose(trial, spaces, {})
        found |= trial.distributions
    return found


def _suits(trial: FrozenTrial, legal: dict[str, BaseDistribution]) -> bool:
    """Whether a trial has values that this space can have, of parameters that mean the same in it."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED) or not trial.params:
        return False
    for name, value in trial.params.items():
        now, then = legal.get(name), trial.distributions[name]
        if now is None or type(now) is not type(then):
            return False
        if isinstance(now, CategoricalDistribution):
            if value not in now.choices:
                return False
        elif not now._contains(now.to_internal_repr(value)):
            return False
    return True
