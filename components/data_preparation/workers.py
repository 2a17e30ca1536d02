"""Work on many items with all cores, in processes of their own: results in order, and an end in any case."""

import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from maskline.errors import StageError

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE = 1.0
"""Seconds of work after which processes are started; less isn't worth their start."""
BATCH = 16
"""Items that are handed over at a time."""
POLL_SECONDS = 0.5
AHEAD = 4
"""Batches for each process that are under way; it bounds what waits in memory."""
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    name: Callable[[Item], str],
    *,
    patience: float = PATIENCE,
) -> Iterator[Result]:
    """What `work` makes of each item, in the order of the items.

    What takes less than `patience` seconds is done in this process. What this process may use of the
    machine counts as its cores: affinity and the limits of its container.

    Args:
        work: a function that can be pickled; what it raises is raised here.
        items: may be without end; only some are taken ahead.
        name: what an item is called in a message.
        patience: in seconds.

    Raises:
        StageError: a process was killed; names the first item that it may have been working on.
    """
    rest = iter(items)
    began = time.monotonic()
    for item in rest:
        yield work(item)
        if time.monotonic() - began > patience:
            break
    from loky import cpu_count

    cores = cpu_count()
    yield from map(work, rest) if cores == 1 else _spread(work, rest, name, cores)


def _spread(
    work: Callable[[Item], Result], items: Iterator[Item], name: Callable[[Item], str], cores: int
) -> Iterator[Result]:
    from loky.process_executor import ProcessPoolExecutor, TerminatedWorkerError

    pool = ProcessPoolExecutor(cores, initializer=_obey, initargs=(os.getpid(),), env=_ONE_THREAD)
    waiting: deque[tuple[list[Item], Any]] = deque()
    try:
        while batch := list(itertools.islice(items, BATCH)):
            waiting.append((batch, pool.submit(_all, work, batch)))
            if len(waiting) > AHEAD * cores:
                yield from waiting[0][1].result()
                waiting.popleft()
        while waiting:
            yield from waiting[0][1].result()
            waiting.popleft()
    except TerminatedWorkerError as error:
        first = name(waiting[0][0][0]) if waiting else "the first"
        raise StageError(
            f"a process was killed, while records from {first} on were looked at; most likely there was too "
            "little memory: give the stage more, or make the pictures smaller"
        ) from error
    finally:
        pool.shutdown(wait=True, kill_workers=True)


def _all(work: Callable[[Item], Result], batch: list[Item]) -> list[Result]:
    return [work(item) for item in batch]


def _obey(parent: int) -> None:
    """Leave Ctrl-C, which goes to all processes of a terminal, to the parent; end when it has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os._exit(1)
