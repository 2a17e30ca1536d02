"""A training leaves what the stages after it need, and does what its settings say."""

import json
import multiprocessing
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from maskline import checkpoint
from maskline.artifacts import TrialDirectory
from maskline.components.sweep_trial import gradients, resume
from maskline.components.sweep_trial import train as room
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.train import main, train
from maskline.errors import StageError

LIGHT = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 64,
    "max_size": 64,
    "number_of_workers": 0,
    "training_batch_size": 4,
    "validation_batch_size": 4,
    "optimizer": "adamw",
    "learning_rate": 0.001,
}
Trained = tuple[TrialDirectory, list[dict]]


@pytest.fixture
def trained(tiny_prepared: Path, tmp_path: Path) -> Callable[..., Trained]:
    def run(name: str = "0", deadline: float | None = None, **chosen: object) -> Trained:
        torch.set_num_threads(1)
        directory = tmp_path / name
        spec = TrialSpec(
            {**LIGHT, **chosen}, str(tiny_prepared), str(directory), 3, deadline or time.time() + 600
        )
        spec.write()
        train(spec)
        files = TrialDirectory(directory)
        return files, [json.loads(line) for line in files.metrics.read_text().splitlines()]

    return run


def test_the_spec_round_trips(tmp_path: Path) -> None:
    spec = TrialSpec({"min_size": 64}, "data", str(tmp_path / "3"), 5, 12.5)
    assert TrialSpec.read(spec.write()) == spec


def test_what_is_left(trained: Callable[..., Trained]) -> None:
    files, lines = trained(number_of_epochs=3, evaluation_frequency=2)
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert ["score" in line for line in lines] == [False, True, True]  # the last epoch always is
    assert all(line["train_loss"] > 0 for line in lines)
    assert lines[-1].keys() >= {"mask_AP", "mask_AP50", "learning_rate", "seconds"}
    assert checkpoint.describe(files.last).epoch == 3
    best = checkpoint.describe(files.best)
    assert best.score == max(line["score"] for line in lines if "score" in line)
    assert best.classes == ("disc", "ring", "square", "triangle")
    assert best.settings["learning_rate"] == 0.001
    assert best.digest


def test_the_loss_falls(trained: Callable[..., Trained]) -> None:
    _, lines = trained(number_of_epochs=8, evaluation_frequency=8, warmup_cosine_lr_warmup_epochs=1)
    assert lines[-1]["train_loss"] < 0.75 * lines[0]["train_loss"]


def test_twice_the_same(trained: Callable[..., Trained]) -> None:
    first, second = (trained(name, number_of_epochs=2)[0] for name in ("a", "b"))
    one, other = (checkpoint.restore(files.last)[0].state_dict() for files in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_loading_processes_start_before_there_is_a_model(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each would keep a copy of the weights that training starts with, once it changes them."""
    loaders: list[set[int | None]] = []

    def seen(original: Callable) -> Callable:
        return lambda *arguments: (
            loaders.append({process.pid for process in multiprocessing.active_children()}),
            original(*arguments),
        )[1]

    monkeypatch.setattr(room, "build_model", seen(room.build_model))
    monkeypatch.setattr(room, "evaluate", seen(room.evaluate))
    files, _ = trained("helped", number_of_epochs=1, number_of_workers=2)
    assert len(loaders[0]) == 2
    assert loaders[1] == loaders[0]  # they did the epoch
    alone, _ = trained("alone", number_of_epochs=1)
    one, other = (checkpoint.restore(found.last)[0].state_dict() for found in (files, alone))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_checkpoint_frequency(trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch) -> None:
    saved = []
    monkeypatch.setattr(
        resume.checkpoint, "save", lambda path, model, said, *_: saved.append((path.name, said.epoch))
    )
    trained(number_of_epochs=5, checkpoint_frequency=2, evaluation_frequency=5)
    assert [epoch for name, epoch in saved if name == "last.safetensors"] == [2, 4, 5]


def test_accumulation_steps_once_a_group(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = room.make_optimizer

    def spy(*arguments: object) -> torch.optim.Optimizer:
        optimizer = original(*arguments)
        step = optimizer.step
        monkeypatch.setattr(optimizer, "step", lambda *a, **k: (made.append(1), step(*a, **k))[1])
        return optimizer

    monkeypatch.setattr(room, "make_optimizer", spy)
    # 12 pictures, 6 batches of 2, groups of 4: a group of four and one of two
    trained(number_of_epochs=1, training_batch_size=2, gradient_accumulation_step=4)
    assert len(made) == 2


def test_training_metrics_and_validation_loss(trained: Callable[..., Trained]) -> None:
    _, lines = trained(number_of_epochs=1, log_training_metrics="enable", log_validation_loss="enable")
    assert lines[0].keys() >= {"mask_AP", "mask_AP_train", "validation_loss"}
    assert lines[0]["validation_loss"] > 0


def test_the_deadline_ends_a_training_that_counts(trained: Callable[..., Trained]) -> None:
    files, lines = trained(number_of_epochs=500, deadline=time.time() + 1)
    assert len(lines) < 100
    assert "score" in lines[-1]
    assert files.best.exists()


def test_early_stopping_ends_a_training(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "evaluate", lambda *_: {"score": 0.5})
    _, lines = trained(number_of_epochs=20, early_stopping_delay=1, early_stopping_patience=2)
    assert len(lines) == 3


def test_divergence_ends_with_advice(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        gradients,
        "losses_of",
        lambda model, *_: {"train_loss": sum(p.sum() for p in model.parameters()) * float("nan")},
    )
    with pytest.raises(StageError, match="the loss is nan in epoch 1; lower learning_rate"):
        trained(number_of_epochs=1)


def test_a_failure_leaves_its_reason(tiny_prepared: Path, tmp_path: Path) -> None:
    chosen = {**LIGHT, "advanced_settings": json.dumps({"pretrained_weights": "/no/such.pth"})}
    spec = TrialSpec(chosen, str(tiny_prepared), str(tmp_path / "0"), 1, time.time() + 60)
    assert main([str(spec.write())]) == 1
    assert "/no/such.pth can't be read" in TrialDirectory(tmp_path / "0").failure.read_text()


class _Linear(torch.nn.Module):
    """A model whose loss on a batch is its weight times the pictures' mean, so that gradients are known."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1, 1))


def test_a_group_steps_by_the_mean_of_its_batches(
    trained: Callable[..., Trained], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, means = _Linear(), []

    def loss(model: _Linear, pictures: list[torch.Tensor], *_: object) -> dict[str, torch.Tensor]:
        means.append(torch.stack([picture.float().mean() / 255 for picture in pictures]).mean())
        return {"train_loss": (model.weight * means[-1]).sum()}

    monkeypatch.setattr(room, "build_model", lambda *_: model)
    monkeypatch.setattr(gradients, "losses_of", loss)
    monkeypatch.setattr(room, "evaluate", lambda *_: {"score": 0.5})
    trained(
        number_of_epochs=1,
        training_batch_size=2,
        gradient_accumulation_step=4,
        optimizer="sgd",
        momentum=0.0,
        nesterov=False,
        weight_decay=0.0,
        learning_rate=0.1,
        learning_rate_scheduler="step",
    )
    # six batches: a group of four and one of two, each a step by the mean of its own batches
    first, second = torch.stack(means[:4]).mean(), torch.stack(means[4:]).mean()
    assert len(means) == 6
    assert model.weight.item() == pytest.approx(1 - 0.1 * (first + second).item(), rel=1e-5)
