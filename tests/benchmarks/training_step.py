"""A step of training on a CPU, against torchvision's reference recipe.

The peer is the step of torchvision's detection references, written anew from its public API: the losses of
its `MaskRCNN`, their sum's gradients, SGD. Ours is the trainer's: gradients with their seeds, clipping, SGD.
Both learn from the same pictures and targets, already loaded, with the same weights, and draw the same
regions. CPU time on one thread, step by step in turn; before that the gradients of one step are compared.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.sweep_trial.feed import Batch, Step
from maskline.components.sweep_trial.gradients import Gradients
from maskline.components.sweep_trial.optimization import clip_gradients, make_optimizer
from maskline.components.sweep_trial.precision import prepare as prepare_precision
from maskline.dataset import PreparedDataset
from maskline.models import build_model
from maskline.settings import TrainingSettings, complete
from maskline.training_data import TrainingDataset

from .harness import Figure, in_turn

DATA = (Path(__file__).parents[2] / "../shared/data/dsb2018_dev").resolve()
MODEL = "maskrcnn_resnet18_fpn"
SIDE = 256
LARGEST = 1024
BATCH = 2
ROUNDS = 5
TARGET = 1.2
ROUNDING = 1e-3
"""Share of a layer's gradient, by Euclidean norm, that single precision explains; in double precision
tests/unit/models/test_cpu_training.py finds none above 1e-9."""
POSITIVES = 128
"""Regions of a picture that the heads take for objects at most: a quarter of 512."""


def measure() -> Iterator[Figure]:
    """With the nuclei as they are, and with as many regions on objects as a picture can have."""
    torch.set_num_threads(1)
    usual = _batches()
    for name, batches in {"nuclei": usual, "most_objects": [_crowded(batch) for batch in usual]}.items():
        ours, theirs = _models()
        difference = _difference(ours, theirs, batches[0])
        yield Figure(
            f"training_step.{name}_difference", difference, ROUNDING, "lower", "torchvision's gradients", "1"
        )
        taken, peer = in_turn(_ours(ours, batches), _peer(theirs, batches), rounds=ROUNDS)
        told = f"torchvision's reference recipe: {peer:.1f} s a step of {BATCH} pictures of {SIDE} px"
        yield Figure(f"training_step.{name}", peer / taken, TARGET, "higher", told)


def _settings() -> TrainingSettings:
    return complete(
        {
            "model_name": MODEL,
            "min_size": SIDE,
            "max_size": LARGEST,
            "optimizer": "sgd",
            "learning_rate": 0.005,
            "advanced_settings": {"pretrained_weights": "none"},
        }
    )


def _batches() -> list[Batch]:
    with tempfile.TemporaryDirectory() as folder:
        prepare(Source(str(DATA)), None, out=Path(folder))
        dataset = TrainingDataset(PreparedDataset.read(folder).coco("train"), _settings())
        items = [dataset[index] for index in range(BATCH * (ROUNDS + 1))]
    starts = range(0, len(items), BATCH)
    return [tuple(map(list, zip(*items[i : i + BATCH], strict=True))) for i in starts]  # type: ignore[misc]


def _crowded(batch: Batch) -> Batch:
    """Each object so often that the heads find as many regions on objects as they may take."""
    pictures, targets = batch
    repeated = []
    for target in targets:
        again = torch.arange(POSITIVES) % len(target["boxes"])
        more = {key: target[key][again] for key in ("boxes", "labels", "masks")}
        repeated.append({**target, **more})
    return pictures, repeated


def _models() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    ours = build_model(_settings(), 1).train()
    nn.init.normal_(ours.rpn.head.cls_logits.weight, std=0.05)  # the scores of a new head tie: in no order
    trunk = resnet_fpn_backbone(
        backbone_name="resnet18", weights=None, norm_layer=nn.BatchNorm2d, trainable_layers=5
    )
    theirs = MaskRCNN(trunk, num_classes=2, min_size=SIDE, max_size=LARGEST).train()
    theirs.load_state_dict(ours.state_dict())
    for model in (ours, theirs):
        # torchvision's resizing draws a random number as well; from here on both draw the same.
        model.rpn.register_forward_pre_hook(_seed)
    return ours, theirs


def _seed(*_: Any) -> None:
    torch.manual_seed(1)


def _ours(model: nn.Module, batches: list[Batch]) -> Callable[[], None]:
    settings = _settings()
    gradients = Gradients(model, prepare_precision(settings.advanced, torch.device("cpu")), seed=0)
    optimizer = make_optimizer(model, settings)
    turn = iter(batches)

    def step() -> None:
        gradients.of(Step({0: next(turn)}, BATCH), epoch=1)
        clip_gradients(model, settings.advanced)
        optimizer.step()

    step()  # the first step allocates
    return step


def _peer(model: nn.Module, batches: list[Batch]) -> Callable[[], None]:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.005, momentum=0.9, weight_decay=1e-4)
    turn = iter(batches)

    def step() -> None:
        losses = _their_losses(model, next(turn))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    step()
    return step


def _their_losses(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Of float pictures, 0 to 1, as the reference's loader gives them."""
    pictures, targets = batch
    losses: dict[str, Tensor] = model([picture.float() / 255 for picture in pictures], targets)
    return losses


def _difference(ours: nn.Module, theirs: nn.Module, batch: Batch) -> float:
    """The largest of all parameters: the norm of its gradients' difference over that of its gradient."""
    sum(ours(*batch).values()).backward()
    sum(_their_losses(theirs, batch).values()).backward()
    expected = dict(theirs.named_parameters())
    found = [
        float((own.grad - expected[name].grad).norm() / expected[name].grad.norm())
        for name, own in ours.named_parameters()
    ]
    for model in (ours, theirs):
        model.zero_grad()
    return max(found)
