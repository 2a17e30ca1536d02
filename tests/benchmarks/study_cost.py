"""What the study costs a trial: to be claimed, proposed by TPE, reported and told, on the journal."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from maskline import study as noun
from maskline.automl import SearchSpace
from maskline.components.sweep_trial.claim import Times, claim
from maskline.components.sweep_trial.propose import propose
from maskline.components.sweep_trial.sampling import LearningSampler
from maskline.sweep import Choice, LogUniform, Uniform

from .harness import Figure

TRIALS = 100
ROUNDS = 20
SPACE = [
    SearchSpace(
        learning_rate=LogUniform(-9, -4),
        weight_decay=LogUniform(-11, -7),
        momentum=Uniform(0.8, 0.99),
        optimizer=Choice(["sgd", "adamw"]),
        min_size=Choice([600, 800]),
        training_batch_size=Choice([2, 4]),
    )
]


def measure() -> Iterator[Figure]:
    """CPU milliseconds a trial after 100 of them, against Optuna's own ask and tell with the same sampler."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        ours = noun.open_study(Path(folder) / "run")
        file = JournalFileBackend(str(Path(folder) / "plain.journal"))
        plain = optuna.create_study(storage=JournalStorage(file), direction="maximize")
        for study in (ours, plain):
            study.sampler = LearningSampler(1)
            for _ in range(TRIALS):
                _plain(study)
        taken: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(ROUNDS):
            for name, study, step in (("ours", ours, _ours), ("plain", plain, _plain)):
                began = time.process_time()
                step(study)
                taken[name].append(1000 * (time.process_time() - began))
    peer = f"Optuna alone: {median(taken['plain']):.1f} ms"
    yield Figure("study_cost.ask_and_tell", median(taken["ours"]), 15, "lower", peer, "ms")


def _ours(study: optuna.Study) -> None:
    trial = claim(study, 10 * TRIALS, 2, Times())
    assert trial is not None
    _try(study, trial)


def _plain(study: optuna.Study) -> None:
    _try(study, study.ask())


def _try(study: optuna.Study, trial: optuna.Trial) -> None:
    """Three reports and the end."""
    point, _ = propose(trial, SPACE, {})
    for epoch in range(1, 4):
        trial.report(point["momentum"] * epoch / 3, epoch)
    study.tell(trial.number, point["momentum"])
