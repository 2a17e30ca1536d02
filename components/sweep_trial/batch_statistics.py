"""Statistics of batch normalisation, for a model whose former training took them while its weights moved.

A model that was trained from scratch has running means of its last twenty steps or so. After a short training
these belong to none of its weights; frozen, they let the activations of a deep model grow from layer to layer
until the loss explodes. So they are measured anew before they are frozen: the precise statistics of Wu and
Johnson 2021, https://arxiv.org/abs/2105.07576.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from maskline.loading import collate
from maskline.training_data import TrainingDataset

from .gradients import losses_of
from .precision import Precision

PICTURES = 32
"""As many as a running mean with torch's momentum of 0.1 knows of, at two pictures a step."""
TOGETHER = 2


def measure_statistics(
    model: nn.Module, weights: Mapping[str, Tensor], dataset: TrainingDataset, precision: Precision
) -> None:
    """Give frozen batch normalisation the statistics of training pictures, in place.

    Args:
        model: with the weights loaded.
        weights: that were loaded, by name; the layers that counted batches are measured, others keep theirs.
        dataset: the training pictures, of which as many as PICTURES are looked at, from all over.
        precision: of the model's passes.
    """
    counted = {name.rpartition(".")[0] for name in weights if name.endswith(".num_batches_tracked")}
    layers = [
        module
        for name, module in model.named_modules()
        if isinstance(module, FrozenBatchNorm2d) and name in counted
    ]
    if not layers:
        return
    sums = [torch.zeros(2, *layer.running_mean.shape, device=precision.device) for layer in layers]
    hooks = [layer.register_forward_pre_hook(_take(total)) for layer, total in zip(layers, sums, strict=True)]
    chosen = range(0, len(dataset), -(-len(dataset) // PICTURES))
    batches = [chosen[start : start + TOGETHER] for start in range(0, len(chosen), TOGETHER)]
    with torch.no_grad():
        for batch in batches:
            losses_of(model, *collate([dataset[index] for index in batch]), precision)
    for hook, layer, total in zip(hooks, layers, sums, strict=True):
        hook.remove()
        _set(layer, total / len(batches))
    print(f"statistics of frozen batch normalisation are measured anew, on {len(chosen)} pictures")


def _take(total: Tensor) -> Callable[[Any, Any], None]:
    """Let a layer go by the statistics of the batch that it is given, and add them up."""

    def hook(layer: Any, given: tuple[Tensor]) -> None:
        values = given[0].float().transpose(0, 1).flatten(1)
        now = torch.stack([values.mean(1), values.var(1, correction=0)])
        _set(layer, now)
        total.add_(now)

    return hook


def _set(layer: Any, statistics: Tensor) -> None:
    layer.running_mean.copy_(statistics[0])
    layer.running_var.copy_(statistics[1])
