"""Compiling a model for training: where it is worth its minutes, and where it can be done."""

import time

import torch
from torch import nn

from maskline.models import family_of
from maskline.settings import TrainingSettings

from .gradients import LOSS, losses_of
from .precision import Precision

WORTH_IT = ("cuda",)
"""Devices that gain by it. On a CPU a step of a compiled ResNet-18 with its pyramid takes as long as before,
and compiling it takes minutes: `pytest -m slow tests/unit/sweep_trial/test_compiling.py`."""
PICTURE = (640, 480)
"""Width and height in pixels of a picture as cameras make them; what is compiled suits such sizes best."""


def compile_backbone(model: nn.Module, settings: TrainingSettings, precision: Precision) -> None:
    """Compile the backbone for training, where the device gains by it; else go on without, and say why.

    A compiler fails late: when the first batch comes, or on its way back. So a step is rehearsed on made-up
    pictures, after which the model is as it was before.
    """
    kind = precision.device.type
    if kind not in WORTH_IT:
        print(
            f"torch_compile=true: a {kind} gains nothing by it, and would take minutes; training without it"
        )
        return
    family = family_of(settings.model_name)
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    began = time.perf_counter()
    family.compile(model)
    try:
        _rehearse(model, settings, precision)
    except Exception as error:  # noqa: BLE001  # compilers raise whatever they like
        del family.backbone(model).forward
        reason = next(iter(str(error).strip().splitlines()), "")
        print(f"torch_compile=true: it failed ({type(error).__name__}: {reason}); training without it")
    else:
        print(f"torch_compile=true: the backbone was compiled in {time.perf_counter() - began:.0f} s")
    model.zero_grad()
    for name, buffer in model.named_buffers():
        buffer.copy_(statistics[name])


def _rehearse(model: nn.Module, settings: TrainingSettings, precision: Precision) -> None:
    """A forward and a backward pass on two made-up pictures, or one where batches are of one."""
    width, height = family_of(settings.model_name).size(PICTURE, settings)
    masks = torch.zeros(1, height, width, dtype=torch.uint8)
    masks[:, : height // 2, : width // 2] = 1
    target = {
        "boxes": torch.tensor([[0.0, 0.0, width // 2, height // 2]]),
        "labels": torch.tensor([1]),
        "masks": masks,
        "crowds": masks[:0],
        "image_id": torch.tensor([1]),
    }
    pictures = [torch.zeros(3, height, width, dtype=torch.uint8)] * min(2, settings.training_batch_size)
    loss = losses_of(model.train(), pictures, [target] * len(pictures), precision)[LOSS]
    loss.backward()  # type: ignore[no-untyped-call]
