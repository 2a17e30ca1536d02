"""What can happen to a slot, with real processes: the number of finished trials is right, none is double."""

import errno
import fcntl
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from maskline import study
from maskline.automl import SearchSpace
from maskline.automode import Facts, strategy
from maskline.components.sweep_trial import claim
from maskline.components.sweep_trial.claim import Signs, Times, reclaim
from maskline.leaderboard import eligible
from maskline.sweep import BanditPolicy, Choice

WHOLE = [1, 2, 3, 4]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of a fifth of a second."""
    monkeypatch.setenv("FAKE_EPOCH_SECONDS", "0.2")


def log(slots, trial: int = 0) -> str:
    return (slots.run / "trials" / str(trial) / "log.txt").read_text()


def is_whole(slots, deaths: int, numbers: tuple[int, ...] = (0,)) -> None:
    """The run's trials have these numbers and are complete, with every epoch reported, and none ran twice."""
    trials = slots.trials()
    assert [trial.number for trial in trials] == list(numbers)
    for trial in trials:
        assert (trial.state, [epoch for epoch, _ in trial.curve]) == ("complete", WHOLE), trial.reason
        assert eligible(trial)
        assert Path(trial.directory, "best.safetensors").read_text() == "4"
    assert sum(trial.deaths for trial in trials) == deaths
    assert slots.doubles() == []


def test_a_killed_training_goes_on_from_its_checkpoint(slots, slow) -> None:
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 2)
    os.kill(slots.training(), signal.SIGKILL)
    assert slots.outcome(slot).state == "complete"
    is_whole(slots, deaths=1)
    assert "starts after epoch 2" in log(slots)


def test_a_killed_supervisor_is_replaced_by_the_next_slot(slots, slow) -> None:
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 2)
    slot.kill()
    slot.join()
    again = slots.once()
    assert (again.number, again.deaths) == (0, 1)
    is_whole(slots, deaths=1)
    assert slots.once().number == 1


def test_a_supervisor_and_its_training_killed_together(slots, slow) -> None:
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 1)
    training = slots.training()
    slot.kill()
    os.kill(training, signal.SIGKILL)
    slot.join()
    slots.once()
    is_whole(slots, deaths=1)


def test_eviction_hands_the_trial_over(slots, slow) -> None:
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 2)
    began = time.monotonic()
    os.kill(slot.pid, signal.SIGTERM)
    left = slots.outcome(slot)
    assert time.monotonic() - began < 10
    assert (left.state, left.number) == ("waiting", 0)
    assert slots.training() == 0
    slots.once()
    is_whole(slots, deaths=0)


def test_the_last_slot_continues_what_lost_its_own(slots, slow) -> None:
    slots.start()
    other = slots.start()
    slots.wait(lambda: slots.epochs(0) >= 1 and slots.epochs(1) >= 1)
    os.kill(other.pid, signal.SIGTERM)
    assert slots.outcome(other).state == "waiting"
    slots.wait(lambda: all(trial.state == "complete" for trial in slots.trials()))
    is_whole(slots, deaths=0, numbers=(0, 1))


def test_of_many_reclaimers_one_succeeds(slots, slow) -> None:
    slots.job.set_limits(max_trials=1)
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 1)
    slot.kill()
    slot.join()
    found = [slots.outcome(one) for one in [slots.start() for _ in range(4)]]
    assert sum(one is not None for one in found) == 1
    is_whole(slots, deaths=1)


def test_max_trials_is_exact(slots) -> None:
    slots.job.set_limits(max_trials=3)
    found = [slots.outcome(one) for one in [slots.start() for _ in range(6)]]
    assert sorted(one.number for one in found if one is not None) == [0, 1, 2]
    is_whole(slots, deaths=0, numbers=(0, 1, 2))
    assert slots.once() is None


def test_a_supervisor_that_was_taken_for_lost_ends_its_training(slots, slow) -> None:
    """It is frozen, on what seems another machine; silence alone tells. Awake again, it sees and leaves."""
    slots.job.set_limits(max_trials=1)
    slots.job.set_training_parameters(number_of_epochs=40)
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 1)
    frozen = slots.training()
    os.kill(frozen, signal.SIGSTOP)
    os.kill(slot.pid, signal.SIGSTOP)
    while locked(slots.run / "study.journal.lock"):  # frozen with the lock, it would hold up all
        os.kill(slot.pid, signal.SIGCONT)
        time.sleep(0.01)
        os.kill(slot.pid, signal.SIGSTOP)
    time.sleep(1.0)

    def elsewhere() -> None:
        claim._machine = lambda: "another machine[1]"

    other = slots.start(elsewhere)
    slots.wait(lambda: len(slots.study().trials) == 2)
    os.kill(slot.pid, signal.SIGCONT)
    slots.wait(lambda: not Path(f"/proc/{frozen}").exists())
    assert slots.outcome(slot).number == 0
    os.kill(other.pid, signal.SIGTERM)
    assert slots.outcome(other).state == "waiting"
    (trial,) = slots.trials()
    assert trial.deaths == 1
    assert slots.doubles() == []


def test_a_trial_that_kills_its_process_has_failed(slots, slow) -> None:
    slots.job.set_limits(max_trials=1)
    for starts in (1, 2):
        slot = slots.start()
        slots.wait(lambda starts=starts: slots.epochs() and log(slots).count("starts after") == starts)
        slot.kill()
        slot.join()
    assert slots.once() is None
    (trial,) = slots.trials()
    assert (trial.state, trial.deaths) == ("failed", 2)
    assert trial.reason.startswith("its process was killed or lost 2 times; limits.max_process_deaths")


@pytest.mark.parametrize("skew", [-60, 60])
def test_clocks_may_differ_by_a_minute(slots, slow, skew: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 1)
    slot.kill()
    slot.join()
    opened = slots.study()
    opened._storage.set_trial_user_attr(opened.trials[0]._trial_id, study.OWNER, "another machine[1]:1:1")
    now = time.time
    monkeypatch.setattr(claim.time, "time", lambda: now() + skew)
    signs, quick = Signs(), Times(beat=0.05)
    assert reclaim(opened, 2, quick, signs) == []
    monkeypatch.setattr(claim.time, "time", lambda: now() + quick.lost + 1 + 60)
    assert reclaim(opened, 2, quick, Signs()) == []  # this slot has just come, and all may have been silent
    time.sleep(0.2)
    assert reclaim(opened, 2, quick, signs) == [0]


def test_a_slot_waits_for_what_becomes_of_a_silent_trial(slots, slow) -> None:
    """Nothing new is left to do, and nobody knows whether the trial that runs elsewhere still does."""
    slots.job.set_limits(max_trials=1)
    slot = slots.start()
    slots.wait(lambda: slots.epochs() >= 1)
    slot.kill()
    slot.join()
    opened = slots.study()
    opened._storage.set_trial_user_attr(opened.trials[0]._trial_id, study.OWNER, "another machine[1]:1:1")
    began = time.monotonic()
    assert slots.once().state == "complete"
    assert time.monotonic() - began > 0.5
    is_whole(slots, deaths=1)


def test_a_slot_waits_no_longer_than_for_a_sign_of_life(slots, slow) -> None:
    slots.job.set_limits(max_trials=1)
    slots.job.set_training_parameters(number_of_epochs=200)

    def elsewhere() -> None:
        claim._machine = lambda: "another machine[1]"

    slot = slots.start(elsewhere)
    slots.wait(lambda: slots.epochs() >= 1)
    opened = slots.study()  # as after a database was away that kept all trials silent
    opened._storage.set_trial_user_attr(opened.trials[0]._trial_id, study.SEEN, time.time() - 1000)
    assert slots.once() is None
    assert slot.is_alive()
    os.kill(slot.pid, signal.SIGTERM)
    assert slots.outcome(slot).state == "waiting"
    assert slots.trials()[0].deaths == 0


def test_the_policy_ends_a_trial_that_keeps_its_best(slots, slow) -> None:
    slots.job.set_sweep(
        sampling_algorithm="random", early_termination=BanditPolicy(slack_factor=0.01, delay_evaluation=2)
    )
    slots.job.set_limits(max_trials=4)
    slots.job.set_training_parameters(number_of_epochs=8)
    for _ in range(4):
        slots.once()
    trials = slots.trials()
    best = max(trials, key=lambda trial: trial.parameters["learning_rate"])
    assert best.state == "complete"
    ended = [trial for trial in trials if trial.state == "terminated"]
    assert ended
    for trial in ended:
        assert trial.epochs_done < 8
        assert trial.reason.startswith("best value 0.")
        assert eligible(trial)
        assert Path(trial.directory, "best.safetensors").exists()
    # Who was best when it ran went on: higher than all that came before it.
    for trial in trials:
        earlier = [t.parameters["learning_rate"] for t in trials[: trial.number]]
        assert (trial.state == "complete") == (
            trial.parameters["learning_rate"] > 0.99 * max(earlier, default=0)
        )


def test_time_limits_end_trials_that_count(slots, slow, monkeypatch: pytest.MonkeyPatch) -> None:
    slots.job.set_training_parameters(number_of_epochs=500)
    slots.job.set_limits(max_trials=3, trial_timeout_minutes=1)
    from maskline.components.sweep_trial import supervise

    monkeypatch.setattr(supervise, "MINUTE", 1.0)
    first = slots.once()
    assert first.state == "complete"
    assert first.reason == "stopped when trial_timeout_minutes=1 were over"
    assert 3 <= first.epochs_done <= 20
    slots.job.set_limits(timeout_minutes=1, trial_timeout_minutes=60)
    assert slots.once() is None  # the whole sweep's time is over
    assert [trial.state for trial in slots.trials()] == ["complete"]


def test_a_training_that_keeps_no_deadline_is_ended(slots, slow, monkeypatch: pytest.MonkeyPatch) -> None:
    from maskline.components.sweep_trial import child, supervise

    deaf = "import sys, os, time, signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)"
    monkeypatch.setattr(child, "COMMAND", (child.sys.executable, "-S", "-c", deaf))
    for name, value in (("MINUTE", 0.3), ("LATE_SECONDS", 0.2)):
        monkeypatch.setattr(supervise, name, value)
    monkeypatch.setattr(child, "GRACE_SECONDS", 0.3)
    slots.job.set_limits(trial_timeout_minutes=1)
    trial = slots.once()
    assert trial.state == "failed"
    assert trial.reason == "stopped when trial_timeout_minutes=1 were over, before a first evaluation"


def test_a_full_disk_is_told_and_spoils_nothing(slots, slow) -> None:
    slots.run.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", str(slots.run)], check=False
    )
    if mounted.returncode:
        pytest.skip("mounting needs root")
    try:
        assert slots.once().state == "complete"
        filler = slots.run / "filler"
        fill(filler)
        slot = slots.start()
        slot.join(60)
        assert slot.exitcode == 1
        filler.unlink()
        slots.once()
        is_whole(slots, deaths=1, numbers=(0, 1))
    finally:
        subprocess.run(["umount", str(slots.run)], check=True)


def fill(file: Path) -> None:
    """Write until the disk is full."""
    with file.open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 512):
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def locked(file: Path) -> bool:
    """Whether a process holds the lock."""
    with file.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_grid_ends(slots) -> None:
    """When each of its points has a trial, slots find nothing to do, though more trials are allowed."""
    slots.job.search_space = [SearchSpace(learning_rate=Choice([0.2, 0.4, 0.6]))]
    slots.job.set_sweep(sampling_algorithm="grid")
    slots.job.set_limits(max_trials=9)
    found = [slots.once() for _ in range(5)]
    assert [trial and trial.parameters["learning_rate"] for trial in found] == [0.2, 0.4, 0.6, None, None]


def test_automode_begins_with_its_defaults(slots) -> None:
    slots.job.search_space = None
    slots.job.set_limits(max_trials=4)
    found = [slots.once() for _ in range(4)]
    facts = Facts.load(slots.study().user_attrs[study.AUTOMODE])
    chosen = strategy(facts, slots.job.fixed_settings())
    assert len(chosen.firsts) == 2
    for trial, (_, values) in zip(found, chosen.firsts, strict=False):
        assert values.items() <= trial.parameters.items()
    assert [trial.number for trial in found] == [0, 1, 2, 3]
    assert not set(slots.job.fixed_settings()) & set(found[3].parameters)
