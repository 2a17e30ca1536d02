"""When the trials of a run last gave a sign of life, as their study has it."""

import os
import time
from contextlib import suppress

STUDY_VARIABLE = "MASKLINE_STUDY_URL"
"""Environment variable with the address of the studies' database; in the cluster it comes from a secret."""
SEEN = "seen"
"""Attribute of a running trial: Unix time of its last sign of life."""


def silence(study_name: str) -> float | None:
    """Seconds since the youngest sign of life of any running trial.

    Args:
        study_name: name of the run directory, which is the run's id unless it was given another.

    Returns:
        None where this machine doesn't reach the database, there is no such study, or no trial runs.
    """
    url = os.environ.get(STUDY_VARIABLE)
    if not url:
        return None
    import optuna
    from optuna.trial import TrialState

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    scheme, _, rest = url.partition("://")
    plain = f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url
    with suppress(Exception):  # whatever keeps us from asking: then nothing is known
        study = optuna.load_study(study_name=study_name, storage=plain)
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        seen = [trial.user_attrs[SEEN] for trial in running if SEEN in trial.user_attrs]
        return max(0.0, time.time() - max(seen)) if seen else None
    return None
