"""A training step of the light model, against the usual heads on the same backbone."""

from collections.abc import Callable, Iterator

import torch

from maskline.models import build_model
from maskline.settings import complete

from .harness import Figure, in_turn

SIDE = 128
PICTURES = 4


def measure() -> Iterator[Figure]:
    """CPU time of forward and backward on four pictures of 128 pixels, one thread."""
    torch.set_num_threads(1)
    light, usual = in_turn(_step("maskrcnn_resnet18_fpn_light"), _step("maskrcnn_resnet18_fpn"), rounds=3)
    yield Figure("light_model.step", usual / light, 3.0, "higher", f"maskrcnn_resnet18_fpn: {usual:.1f} s")


def _step(name: str) -> Callable[[], None]:
    torch.manual_seed(0)
    settings = complete(
        {
            "model_name": name,
            "min_size": SIDE,
            "max_size": SIDE,
            "advanced_settings": {"pretrained_weights": "none"},
        }
    )
    model = build_model(settings, 3).train()
    pictures = [torch.rand(3, SIDE, SIDE) for _ in range(PICTURES)]
    box = torch.tensor([[20.0, 20.0, 60.0, 60.0], [50.0, 70.0, 110.0, 120.0]])
    masks = torch.zeros(2, SIDE, SIDE, dtype=torch.uint8)
    masks[0, 20:60, 20:60] = 1
    masks[1, 70:120, 50:110] = 1
    targets = [{"boxes": box, "labels": torch.tensor([1, 2]), "masks": masks} for _ in pictures]

    def step() -> None:
        model.zero_grad()
        sum(model(pictures, targets).values()).backward()

    step()  # the first step allocates
    return step
