"""A backbone that is compiled for training."""

from typing import Any

import torch
from torch import nn


def compile_forward(backbone: nn.Module, *, dynamic: bool) -> None:
    """Have the passes that a backbone learns from compiled, in place; `del backbone.forward` undoes it.

    Evaluation stays as it is: its pictures come one by one in sizes of their own, for which everything would
    be compiled once more.

    Args:
        backbone: of a model.
        dynamic: leave the sizes open; else it is compiled anew for each size.
    """
    plain = backbone.forward
    compiled = torch.compile(plain, dynamic=dynamic)

    def forward(*given: Any, **named: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*given, **named)

    backbone.forward = forward
