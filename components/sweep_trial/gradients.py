"""The gradients of a step, in as many parts as memory asks for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from maskline.errors import StageError
from maskline.loading import random_key

from .feed import Batch, Step
from .precision import Precision

LOSS = "train_loss"


class Gradients:
    """Adds up the gradients of a step's mean loss over its pictures.

    A batch that doesn't fit into memory is halved, again and again if need be; the gradients of its parts
    are added up, so that a step still learns from as many pictures.

    Attributes:
        most: pictures at a time; None for all of a batch.
    """

    def __init__(self, model: nn.Module, precision: Precision, seed: int, most: int | None = None) -> None:
        self._model = model
        self._precision = precision
        self._seed = seed
        self.most = most

    def of(self, step: Step, epoch: int) -> dict[str, float]:
        """Leave the gradients in the parameters; the mean loss and its parts, by name: of this process's
        batches, as their share of the step's.

        Raises:
            torch.OutOfMemoryError: not even one picture fits.
        """
        while True:
            self._model.zero_grad()
            try:
                return self._add_up(step, epoch)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not self._halve(step, error):
                    raise
            # Outside of the handler, where the error no longer holds on to the tensors of the failed pass.
            if self._precision.device.type == "cuda":
                torch.cuda.empty_cache()

    def _halve(self, step: Step, error: Exception) -> bool:
        largest = max(len(pictures) for pictures, _ in step.batches.values())
        tried = min(largest, self.most or largest)
        if not out_of_memory(error) or tried == 1:
            return False
        self.most = (tried + 1) // 2
        print(
            f"{tried} pictures at a time don't fit into memory; going on with {self.most}, whose gradients "
            "are added up: a step learns from as many pictures as before"
        )
        return True

    def _add_up(self, step: Step, epoch: int) -> dict[str, float]:
        sums: dict[str, float] = {}
        for number, batch in step.batches.items():
            # Which regions are sampled depends on these numbers only, not on what was drawn before.
            torch.manual_seed(random_key(self._seed, epoch, number))
            for pictures, targets in parts(batch, self.most):
                losses = losses_of(self._model, pictures, targets, self._precision)
                share = len(pictures) / step.pictures
                self._precision.scaler.scale(losses[LOSS] * share).backward()  # type: ignore[no-untyped-call]
                for name, loss in losses.items():
                    sums[name] = sums.get(name, 0.0) + loss.item() * share
        return sums


def parts(batch: Batch, most: int | None) -> list[Batch]:
    """A batch in parts of at most so many pictures."""
    pictures, targets = batch
    size = most or len(pictures)
    return [(pictures[i : i + size], targets[i : i + size]) for i in range(0, len(pictures), size)]


def losses_of(
    model: nn.Module, pictures: list[Tensor], targets: list[dict[str, Any]], precision: Precision
) -> dict[str, Tensor]:
    """The mean loss of some pictures, as `train_loss`, and its parts by torchvision's names."""
    device = precision.device
    on_device = [{name: part.to(device) for name, part in target.items()} for target in targets]
    with precision.pass_():
        found: dict[str, Tensor] = model([picture.to(device) for picture in pictures], on_device)
    return {LOSS: torch.stack(list(found.values())).sum(), **found}


def check_finite(losses: Mapping[str, float], epoch: int, most: float, former: str | None = None) -> None:
    """See whether training can go on with these losses.

    Args:
        losses: of a step, by name.
        epoch: that it belongs to, from 1. In the first one any number will do: a deep model that starts from
            scratch may begin high.
        most: a loss above it ends the trial from the second epoch on, see `Family.diverged_loss`.
        former: the run that the weights are of, if any.

    Raises:
        StageError: the loss is no number any more, or explodes.
    """
    loss = losses[LOSS]
    if not loss < (most if epoch > 1 else float("inf")):  # also if it is NaN
        start = (
            f"; or train {former} longer before checkpoint_run_id starts from it, if it was a short training"
            if former
            else ""
        )
        raise StageError(
            f"the training diverged: the loss is {loss:g} in epoch {epoch}; "
            f"lower learning_rate, or lengthen warmup_cosine_lr_warmup_epochs{start}"
        )


def out_of_memory(error: Exception) -> bool:
    """Whether the device had no memory left for tensors."""
    # On a CPU torch has no type of its own for it.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
