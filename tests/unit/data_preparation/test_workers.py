"""Work in processes: the same results in the same order, and an end whatever happens."""

import os
import signal
import subprocess
import sys
import time

import pytest

from maskline.annotations import read_annotations
from maskline.components.data_preparation import check as checking
from maskline.components.data_preparation import workers
from maskline.components.data_preparation.workers import in_order
from maskline.errors import StageError


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr("loky.cpu_count", lambda: 2)


def test_results_come_in_the_order_of_the_items(two_cores):
    # Later items are done sooner; functions without a name of their own are sent by their code.
    def slow(number):
        import time

        time.sleep(0.002 * (20 - number % 20))
        return number, __import__("os").getpid()

    found = list(in_order(slow, range(100), str, patience=0))
    assert [number for number, _ in found] == list(range(100))
    assert os.getpid() in {found[0][1]}
    assert os.getpid() not in {process for _, process in found[1:]}


def test_only_some_items_are_taken_ahead(two_cores):
    taken = []

    def items():
        for number in range(10_000):
            taken.append(number)
            yield number

    stream = in_order(lambda number: number, items(), str, patience=0)
    assert next(stream) == 0
    assert next(stream) == 1
    assert len(taken) <= 1 + workers.BATCH * (workers.AHEAD * 2 + 1)
    stream.close()


def test_an_error_of_the_work_is_raised_here(two_cores):
    def fails(number):
        if number == 30:
            raise ValueError("thirty")
        return number

    with pytest.raises(ValueError, match="thirty"):
        list(in_order(fails, range(100), str, patience=0))


def test_a_killed_process_is_an_error_that_says_where(two_cores):
    def dies(number):
        import os
        import signal

        if number == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(StageError, match=r"was killed, while records from item \d+ on .*too little memory"):
        list(in_order(dies, range(100), lambda number: f"item {number}", patience=0))


def test_pictures_are_checked_alike_in_processes(odd, two_cores, monkeypatch):
    source = read_annotations(odd / "odd_annotations.json", "coco")
    alone = checking.check(source)
    monkeypatch.setattr(workers, "PATIENCE", 0)
    monkeypatch.setattr(checking, "in_order", lambda *given: in_order(*given, patience=0))
    together = checking.check(source)
    assert together[1] == alone[1]
    assert [p.key for p in together[0]] == [p.key for p in alone[0]]


CODE = r"""
import loky
loky.cpu_count = lambda: 2
from maskline.components.data_preparation.workers import in_order

def slow(number):
    import os, time
    os.write(1, b"%d\n" % os.getpid())
    time.sleep(0.05)

for _ in in_order(slow, range(100_000), str, patience=0):
    pass
"""


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_no_process_outlives_the_one_that_was_stopped(number):
    """Ctrl-C reaches all processes of a terminal; a kill only the one that it is meant for."""
    program = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    processes = set()
    while len(processes) < 3:
        processes.add(int(program.stdout.readline()))
    if number == signal.SIGINT:
        os.killpg(program.pid, number)
    else:
        program.kill()
    program.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, processes))
    program.stdout.close()
    program.stderr.close()


def _alive(process):
    try:
        with open(f"/proc/{process}/stat") as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
