"""Many things that wait for a network or a disk, done at a time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = 16
"""Things that are done at a time; most of it is waiting."""
S = TypeVar("S")
T = TypeVar("T")


def in_parallel(work: Callable[[S], T], items: Iterable[S], threads: int = THREADS) -> Iterator[T]:
    """Results in the order of the items, of which few are held at a time; the first error ends it."""
    running: deque[Future[T]] = deque()
    with ThreadPoolExecutor(max_workers=threads) as pool:
        try:
            for item in items:
                running.append(pool.submit(work, item))
                if len(running) >= 4 * threads:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()
