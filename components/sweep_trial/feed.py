"""Which pictures each step of the optimiser takes, and how they come to it."""

import math
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from maskline.loading import Sample, loader, random_key
from maskline.settings import TrainingSettings
from maskline.training_data import TrainingDataset

Batch = tuple[list[Tensor], list[dict[str, Any]]]


@dataclass(frozen=True)
class Step:
    """What one step of the optimiser learns from.

    Attributes:
        batches: number of the batch in its epoch -> pictures and targets; of this process only.
        pictures: how many pictures the step has, over all processes.
        waited: seconds that training waited for them.
    """

    batches: dict[int, Batch]
    pictures: int
    waited: float = 0.0


class Feed:
    """The training pictures, epoch by epoch, step by step.

    The order depends on seed and epoch only. A step takes gradient_accumulation_step batches for each
    process; the processes take turns, so that W processes learn from the same steps as one that accumulates
    W times as many batches. The last step of an epoch has what is left; no picture is seen twice.

    Loading processes start with the Feed: what comes into this process's memory afterwards, such as a model,
    is none of theirs. If one is killed, most often for want of memory, loading goes on with half as many.

    Attributes:
        steps_per_epoch: steps of the optimiser an epoch.
    """

    def __init__(
        self, dataset: TrainingDataset, settings: TrainingSettings, seed: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self._dataset = dataset
        self._seed = seed
        self._rank, self._ranks = rank, ranks
        self._size = settings.training_batch_size
        self._workers = settings.number_of_workers
        batches = math.ceil(len(dataset) / self._size)
        self._accumulated = min(settings.gradient_accumulation_step, math.ceil(batches / ranks))
        self.steps_per_epoch = math.ceil(batches / (self._accumulated * ranks))
        self._plan: list[list[int]] = []  # one list, which the loader reads anew every epoch
        self._batches = self._loader()

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Step]:
        """The steps of an epoch (from 1), from the one with index `first` (from 0) on."""
        self._dataset.set_epoch(epoch)
        steps = self._steps(epoch)[first:]
        mine = [numbers[self._rank :: self._ranks] for numbers, _ in steps]
        order = self._order(epoch)
        loaded = self._loaded([order[number] for numbers in mine for number in numbers])
        for numbers, (_, pictures) in zip(mine, steps, strict=True):
            began = time.perf_counter()
            batches = {number: next(loaded) for number in numbers}
            yield Step(batches, pictures, time.perf_counter() - began)

    def _order(self, epoch: int) -> list[list[int]]:
        """The pictures of each batch of an epoch."""
        generator = torch.Generator().manual_seed(random_key(self._seed, epoch))
        order = torch.randperm(len(self._dataset), generator=generator).tolist()
        return [order[start : start + self._size] for start in range(0, len(order), self._size)]

    def _steps(self, epoch: int) -> list[tuple[list[int], int]]:
        """The numbers of the batches of each step, and how many pictures they hold."""
        order, each = self._order(epoch), self._accumulated * self._ranks
        groups = [range(len(order))[start : start + each] for start in range(0, len(order), each)]
        return [(list(group), sum(len(order[number]) for number in group)) for group in groups]

    def _loaded(self, plan: list[list[int]]) -> Iterator[Batch]:
        done = 0
        while done < len(plan):
            self._plan[:] = plan[done:]
            try:
                for batch in self._begun(self._batches):
                    yield batch
                    done += 1
            except (RuntimeError, MemoryError) as error:
                if not self._workers or not lost_a_worker(error):
                    raise
                self._workers //= 2
                print(FEWER.format(" ".join(str(error).split()), self._workers))
                self._plan.clear()
                self._batches = self._loader()

    def _loader(self) -> DataLoader[Sample]:
        made = loader(self._dataset, batch_size=self._size, workers=self._workers, batches=self._plan)
        if self._workers:
            self._begun(made)  # starts them
        return made

    @staticmethod
    def _begun(batches: DataLoader[Sample]) -> Iterator[Batch]:
        begun: Iterator[Batch] = iter(batches)
        # torch lets a loader that dies raise an error wherever training is just then, also in the middle of a
        # step; without that it is found out when the next batch is asked for.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        return begun


FEWER = (
    "a process that loads pictures ended ({}), most often for want of memory or of shared memory "
    "(/dev/shm); going on with {} of them"
)


def lost_a_worker(error: Exception) -> bool:
    """Whether a loading process died, or had no memory; not whether it met a picture that can't be read."""
    return isinstance(error, MemoryError) or str(error).startswith("DataLoader worker (pid")
