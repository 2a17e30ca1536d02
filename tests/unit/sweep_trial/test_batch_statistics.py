"""Frozen batch normalisation goes by the statistics of the weights that training starts from."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from maskline.components.sweep_trial.batch_statistics import measure_statistics
from maskline.components.sweep_trial.gradients import LOSS, check_finite, losses_of
from maskline.components.sweep_trial.precision import Precision
from maskline.dataset import PreparedDataset
from maskline.errors import StageError
from maskline.loading import collate
from maskline.models import build_model
from maskline.settings import complete
from maskline.training_data import TrainingDataset

LIGHT = {"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 64, "max_size": 64}
SCRATCH = {"advanced_settings": {"pretrained_weights": "none"}}
CPU = Precision(torch.float32, torch.device("cpu"))
FIRST = "backbone.body.bn1"
Measured = tuple[nn.Module, TrainingDataset, dict[str, Tensor]]


@pytest.fixture
def start(tiny_prepared: Path) -> Callable[[dict], Measured]:
    """A model with frozen batch normalisation that has the weights of one with other settings."""

    def made(donor: dict) -> Measured:
        torch.manual_seed(0)
        weights = build_model(complete({**LIGHT, **donor}), 4).state_dict()
        for name, tensor in weights.items():
            if name.endswith("running_var"):
                tensor.mul_(1e-3)  # as after some steps whose activations were smaller
        model = build_model(complete({**LIGHT, "checkpoint_run_id": "former"}), 4)
        model.load_state_dict(weights, strict=False)
        dataset = TrainingDataset(PreparedDataset.read(tiny_prepared).coco("train"), complete(LIGHT))
        return model, dataset, weights

    return made


def test_what_was_trained_from_scratch_is_measured(start: Callable[[dict], Measured]) -> None:
    model, dataset, weights = start(SCRATCH)
    pictures, targets = collate([dataset[0], dataset[1]])
    with torch.no_grad():
        torch.manual_seed(0)
        before = losses_of(model, pictures, targets, CPU)[LOSS].item()
        measure_statistics(model, weights, dataset, CPU)
        torch.manual_seed(0)
        after = losses_of(model, pictures, targets, CPU)[LOSS].item()
        batches = [collate([dataset[n], dataset[n + 1]])[0] for n in range(0, len(dataset), 2)]
        seen = [model.backbone.body.conv1(model.transform(batch)[0].tensors) for batch in batches]
    means = torch.stack([values.mean((0, 2, 3)) for values in seen]).mean(0)
    variances = torch.stack([values.var((0, 2, 3), correction=0) for values in seen]).mean(0)
    own = model.state_dict()
    assert torch.allclose(own[f"{FIRST}.running_mean"], means, atol=1e-6)
    assert torch.allclose(own[f"{FIRST}.running_var"], variances, rtol=1e-4)
    assert before > 1000  # the activations of eighteen layers
    assert after < 30


def test_what_was_frozen_before_stays(start: Callable[[dict], Measured]) -> None:
    model, dataset, weights = start({"checkpoint_run_id": "another"})
    measure_statistics(model, weights, dataset, CPU)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())


def test_the_advice_names_the_run_that_the_weights_are_of() -> None:
    with pytest.raises(StageError, match="learning_rate.*; or train bold-name longer before"):
        check_finite({LOSS: float("nan")}, 1, 100.0, "bold-name")
    with pytest.raises(StageError, match="warmup_cosine_lr_warmup_epochs$"):
        check_finite({LOSS: float("nan")}, 1, 100.0)
