"""One training in several processes, one for each GPU of the pod.

Every process holds the whole model and takes its share of a step's batches; their gradients are added up, so
that all make the same step. W processes with a batch size of B learn from steps of W * B pictures, at W times
the learning rate, as on Azure ML (the linear rule of Goyal et al. 2017, https://arxiv.org/abs/1706.02677).

Gradients are added up in one piece after the backward pass, and not by the hooks of
DistributedDataParallel: a process that runs out of memory does its pass again in smaller parts, which those
hooks don't survive. Only the first process writes files; any other can be ended at any moment.

The weights are those of one process that accumulates W times as many batches a step at the same rate, to
rounding. So is all else where batch normalisation is frozen. Where it isn't, each batch is normalised by
itself in both, but running statistics differ after a step, and by them what is evaluated: one process moves
them batch after batch; in a team each moves its own by its share of the batches, and the mean is kept.
Statistics over all processes at once (SyncBatchNorm) would need every process to make the same passes, and
one that is short of memory makes more of them.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from maskline.settings import TrainingSettings

from .interruption import CODE, Interruption, Stopped

Item = TypeVar("Item")
PATIENCE = timedelta(hours=6)
"""How long a process waits for the others, e.g. while the first scores an epoch; a dead one is noticed at
once, by who started it."""
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Team:
    """The processes of a training.

    Attributes:
        rank: number of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def join(cls) -> "Team":
        """The team that this process was started for, by `launch` or by torchrun."""
        size, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
        if size == 1:
            return cls()
        on_gpu = torch.cuda.is_available()
        if on_gpu:
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
        if rank:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first keeps the checkpoint, and answers
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # as long as the process
        return cls(rank, size)

    def leave(self) -> None:
        """The work is done."""
        if self.size > 1:
            dist.destroy_process_group()

    @property
    def leads(self) -> bool:
        """Whether this process is the one that writes files."""
        return self.rank == 0

    def add_up(self, model: nn.Module, losses: dict[str, float], late: bool) -> tuple[dict[str, float], bool]:
        """Give every process the sum of all gradients and losses, and the mean of batch statistics over those
        that had a batch.

        Args:
            model: whose gradients are replaced, in place.
            losses: this process's part of the step's mean losses; empty if the step had no batch for it.
            late: whether this process thinks that time is up.

        Returns:
            The step's mean losses, and whether time is up for any.
        """
        if self.size == 1:
            return losses, late
        tensors = [_gradient(p) for p in model.parameters() if p.requires_grad]
        statistics, had = list(_statistics(model)), float(bool(losses))
        tensors += [statistic.mul_(had) for statistic in statistics]
        tensors.append(torch.full((1,), had, device=tensors[0].device))
        flat = torch.cat([tensor.flatten() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, summed in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(summed.view_as(tensor))
        for statistic in statistics:
            statistic.div_(tensors[-1])
        told = self.gather([(losses, late)])
        names = dict.fromkeys(name for part, _ in told for name in part)
        return {n: sum(part.get(n, 0.0) for part, _ in told) for n in names}, any(out for _, out in told)

    def gather(self, items: list[Item]) -> list[Item]:
        """What all processes have, in the order of their ranks."""
        if self.size == 1:
            return items
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, items)
        return [item for part in found for item in part]

    def wait(self) -> None:
        """Go on when all are here."""
        self.gather([None])

    def tell(self, item: Item | None) -> Item:
        """What the first process has."""
        return self.gather([item])[0]  # type: ignore[return-value]


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def _statistics(model: nn.Module) -> Iterator[Tensor]:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
            yield from (module.running_mean, module.running_var)  # type: ignore[misc]


def processes_for(settings: TrainingSettings) -> int:
    """How many processes a training takes: one a visible GPU if it is `distributed`, else one."""
    if "RANK" in os.environ or not settings.distributed:
        return 1
    return max(1, torch.cuda.device_count())


def launch(spec: Path, size: int, stop: Interruption) -> int:
    """Train by a spec file in several processes; the exit code of the first that matters.

    Raises:
        Stopped: the training was asked to stop, and the first process has kept a checkpoint.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    command = [sys.executable, "-u", "-m", "maskline.components.sweep_trial", str(spec)]
    team = [
        subprocess.Popen(command, env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank in range(size)
    ]
    try:
        while (code := _ended(team)) is None:
            if stop.asked:
                raise Stopped
            time.sleep(POLL_SECONDS)
    except Stopped:
        team[0].terminate()
        team[0].wait()
        raise
    finally:
        for process in team:
            process.kill()
            process.wait()
    if code == CODE:
        raise Stopped
    return code


def _ended(team: list[subprocess.Popen[bytes]]) -> int | None:
    """The exit code of the first process, or of another that failed; None while all is well."""
    codes = [process.poll() for process in team]
    failed = [code for code in codes if code]
    return failed[0] if failed else codes[0]
