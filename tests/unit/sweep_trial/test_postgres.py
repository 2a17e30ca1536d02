"""A sweep whose study is in PostgreSQL, on a real server."""

import os
import random
import signal
import time

import pytest

from maskline import study
from maskline.components.sweep_trial import supervise


def test_eight_slots_at_once(slots, database) -> None:
    """They make the tables, the study and the trials at the same time."""
    slots.job.set_limits(max_trials=8)
    found = [slots.outcome(one) for one in [slots.start() for _ in range(8)]]
    assert sorted(one.number for one in found) == list(range(8))
    assert [trial.state for trial in slots.trials()] == ["complete"] * 8
    assert not (slots.run / study.JOURNAL).exists()
    assert slots.doubles() == []


def test_slots_that_begin_at_once_learn_from_a_former_run_once(slots, database, tmp_path) -> None:
    """Nothing but the database is theirs in common: each has a folder of its own."""
    slots.once()
    former = slots.run
    sweep = {"sampling_algorithm": "random", "warm_start_from": str(former)}
    slots.job = type(slots.job).from_dict({**slots.job.to_dict(), "sweep": sweep})
    slots.job.set_limits(max_trials=4)

    def elsewhere() -> None:
        slots.run = tmp_path / f"node-{os.getpid()}" / "second"
        slots.run.mkdir(parents=True)

    begun = [slots.start(elsewhere) for _ in range(4)]
    for one in begun:
        one.join(60)
        assert one.exitcode == 0
    slots.run = tmp_path / "second"
    known = slots.study().get_trials(deepcopy=False)
    assert sum(study.FOREIGN in trial.user_attrs for trial in known) == 1
    assert len(slots.trials()) == 4


@pytest.mark.parametrize("minute", [0.5, pytest.param(60, marks=pytest.mark.slow)])
def test_training_goes_on_while_the_storage_is_away(slots, database, monkeypatch, minute: float) -> None:
    """The server is stopped in mid-training, and started again after the training has ended."""
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.2")
    monkeypatch.setattr(supervise, "PATIENCE_SECONDS", 120)
    slots.job.set_training_parameters(number_of_epochs=10)
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 2)
    database.stop()
    stopped = slots.epochs()
    try:
        slots.wait(lambda: slots.epochs() == 10)
        time.sleep(minute)  # the training has ended, and its end is still to be told
        assert stopped < 10
        assert slot.is_alive()
    finally:
        database.start()
    assert slots.outcome(slot).state == "complete"
    (trial,) = slots.trials()
    assert [epoch for epoch, _ in trial.curve] == list(range(1, 11))
    assert (trial.epochs_done, trial.deaths) == (10, 0)


def test_eviction_while_the_storage_is_away(slots, database, monkeypatch) -> None:
    """The slot ends well and in time; the next one continues the trial."""
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.2")
    slots.job.set_limits(max_trials=1)
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 2)
    database.stop()
    try:
        os.kill(slot.pid, signal.SIGTERM)
        left = slots.outcome(slot)
        assert (left.number, left.state) == (0, "waiting")
    finally:
        database.start()
    assert slots.once().state == "complete"
    (trial,) = slots.trials()
    assert [epoch for epoch, _ in trial.curve] == [1, 2, 3, 4]
    assert slots.doubles() == []


@pytest.mark.parametrize(("epoch", "pause"), [(0.08, 0.5), pytest.param(5.0, 20.0, marks=pytest.mark.slow)])
def test_a_sweep_under_random_kills_ends_with_every_trial(
    slots, database, monkeypatch, epoch: float, pause: float
) -> None:
    """Thirty trials, four at a time; every now and then a slot or a training is killed, or a slot evicted."""
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", str(epoch))
    slots.job.set_limits(max_trials=30, max_process_deaths=100)
    chance = random.Random(1)
    running = [slots.start() for _ in range(4)]
    kills, next_kill, end = 0, time.monotonic() + pause, time.monotonic() + 120 + 70 * epoch
    while running and time.monotonic() < end:
        if time.monotonic() > next_kill:
            if struck := strike(slots, chance.choice(running), chance):
                next_kill = time.monotonic() + pause
            kills += struck
        for slot in [one for one in running if not one.is_alive()]:
            running.remove(slot)
            if sum(trial.state == "complete" for trial in slots.trials()) < 30:
                running.append(slots.start())
        time.sleep(0.02)
    trials = slots.trials()
    assert kills >= 5
    assert [trial.number for trial in trials] == list(range(30))
    assert [trial.state for trial in trials] == ["complete"] * 30
    assert all([epoch for epoch, _ in trial.curve] == [1, 2, 3, 4] for trial in trials)
    assert slots.doubles() == []


def strike(slots, slot, chance: random.Random) -> int:
    """Kill a slot or its training, or evict it."""
    if not slot.is_alive():
        return 0
    kind = chance.choice(["slot", "training", "eviction"])
    if kind == "training":
        children = f"/proc/{slot.pid}/task/{slot.pid}/children"
        try:
            with open(children) as file:
                for child in file.read().split():
                    os.kill(int(child), signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError):
            return 0
    else:
        os.kill(slot.pid, signal.SIGKILL if kind == "slot" else signal.SIGTERM)
    return 1
