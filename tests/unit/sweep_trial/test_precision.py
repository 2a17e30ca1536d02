"""Arithmetic, memory and averages: what a device lacks is replaced and said, and nothing else changes."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from maskline.advanced import AdvancedSettings
from maskline.components.sweep_trial import feed as feeding
from maskline.components.sweep_trial import gradients as room
from maskline.components.sweep_trial import validation
from maskline.components.sweep_trial.feed import Feed, Step
from maskline.components.sweep_trial.gradients import Gradients
from maskline.components.sweep_trial.optimization import clip_gradients, make_average
from maskline.components.sweep_trial.precision import Hardware, Precision, choose, prepare
from maskline.components.sweep_trial.team import Team
from maskline.dataset import PreparedDataset
from maskline.settings import complete
from maskline.training_data import TrainingDataset

CPU = torch.device("cpu")
PLAIN = Precision(torch.float32, CPU)
AMPERE, TURING, PASCAL = (Hardware("cuda", *units) for units in ((True, True), (False, True), (False, False)))
OLD_CPU, NEW_CPU = Hardware("cpu", False, False), Hardware("cpu", True, False)


@pytest.mark.parametrize(
    ("wanted", "hardware", "expected", "said"),
    [
        ("auto", AMPERE, torch.bfloat16, False),
        ("auto", TURING, torch.float16, False),
        ("auto", PASCAL, torch.float32, False),
        ("auto", OLD_CPU, torch.float32, False),
        ("auto", NEW_CPU, torch.float32, False),
        ("bf16", AMPERE, torch.bfloat16, False),
        ("bf16", TURING, torch.float32, True),
        ("bf16", OLD_CPU, torch.float32, True),
        ("bf16", NEW_CPU, torch.bfloat16, False),
        ("fp16", TURING, torch.float16, False),
        ("fp16", OLD_CPU, torch.float32, True),
        ("fp32", AMPERE, torch.float32, False),
    ],
)
def test_types(
    wanted: str,
    hardware: Hardware,
    expected: torch.dtype,
    said: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert choose(wanted, hardware) == expected
    assert (f"precision={wanted}: this {hardware.device} has no units" in capsys.readouterr().out) is said


@pytest.mark.parametrize(("units", "has"), [({"avx2": True}, False), ({"avx512_bf16": True}, True)])
def test_a_cpu_is_asked_for_its_units(units: dict, has: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    assert Hardware.of(CPU) == Hardware("cpu", has, False)


def test_a_pass_computes_in_the_type() -> None:
    layer = nn.Linear(2, 2)
    for dtype in (torch.bfloat16, torch.float32):
        with Precision(dtype, CPU).pass_():
            assert layer(torch.ones(1, 2)).dtype == dtype
    assert layer.weight.dtype == torch.float32
    assert Precision(torch.float16, CPU).scaler.is_enabled()
    assert not PLAIN.scaler.is_enabled()


def test_channels_last_is_not_for_cpus() -> None:
    layer = Precision(torch.bfloat16, CPU).place(nn.Conv2d(4, 4, 3))
    assert layer.weight.is_contiguous()


def test_deterministic_algorithms() -> None:
    try:
        prepare(AdvancedSettings(deterministic=True), CPU)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(
    ("advanced", "expected"),
    [
        ({}, [5.0, -5.0, 3.0]),
        ({"grad_clip": 2.5}, [2.5, -2.5, 2.5]),
        ({"grad_clip_type": "norm"}, [30 / 50.09, -40 / 50.09, 3 / 50.09]),
        ({"grad_clip_type": "norm", "grad_clip": 100.0}, [30.0, -40.0, 3.0]),
        ({"grad_clip_type": "none"}, [30.0, -40.0, 3.0]),
    ],
)
def test_clipping(advanced: dict, expected: list[float]) -> None:
    layer = nn.Linear(3, 1, bias=False)
    layer.weight.grad = torch.tensor([[30.0, -40.0, 3.0]])
    clip_gradients(layer, AdvancedSettings(**advanced))
    assert layer.weight.grad[0].tolist() == pytest.approx(expected, rel=1e-4)


def test_the_average_by_hand() -> None:
    """Decays (1 + n) / (10 + n) until they reach the wanted one."""
    layer = nn.Linear(1, 1, bias=False)
    average = make_average(layer, 0.25)
    expected = None
    for n, weight in enumerate((1.0, 3.0, 7.0, 2.0)):
        layer.weight.data.fill_(weight)
        average.update_parameters(layer)
        decay = min(0.25, (1 + n) / (10 + n))  # 0.1, 2/11, 0.25, 0.25
        expected = weight if expected is None else decay * expected + (1 - decay) * weight
        assert average.module.weight.item() == pytest.approx(expected)
    assert make_average(layer, 0.0) is None


class Model(nn.Module):
    """Its loss is the mean of weight * picture, so that gradients are known; it holds few at a time."""

    def __init__(self, fits: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.fits = fits
        self.tried: list[int] = []

    def forward(self, pictures: list[torch.Tensor], targets: list[dict]) -> dict[str, torch.Tensor]:
        self.tried.append(len(pictures))
        loss = torch.stack([self.weight * picture.mean() for picture in pictures]).mean()
        if len(pictures) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return {"loss": loss}


def step() -> Step:
    batches = {
        number: ([torch.full((1, 2, 2), float(value)) for value in values], [{} for _ in values])
        for number, values in enumerate([[1, 2, 3, 4, 5, 6, 7], [8, 9]])
    }
    return Step(batches, 9)


@pytest.mark.parametrize(
    ("fits", "tried"), [(7, [7, 2]), (4, [7, 4, 3, 2]), (1, [7, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1])]
)
def test_a_batch_that_does_not_fit_is_halved(
    fits: int, tried: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    model = Model(fits)
    gradients = Gradients(model, PLAIN, seed=1)
    losses = gradients.of(step(), epoch=1)
    assert model.tried == tried
    assert losses["train_loss"] == pytest.approx(5)  # the mean of 1 ... 9, whatever the parts
    assert model.weight.grad.item() == pytest.approx(5)
    assert ("don't fit into memory; going on with" in capsys.readouterr().out) is (fits < 7)
    model.tried.clear()
    gradients.of(step(), epoch=1)  # what was learnt is kept
    assert model.tried[0] == min(fits, 7)


def test_a_single_picture_that_does_not_fit_is_an_error() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Gradients(Model(0), PLAIN, seed=1).of(step(), epoch=1)


def test_other_errors_are_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "losses_of", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Gradients(Model(9), PLAIN, seed=1).of(step(), epoch=1)


def test_an_evaluation_that_does_not_fit_takes_fewer(
    monkeypatch: pytest.MonkeyPatch, tiny_prepared: Path
) -> None:
    tried = []

    def predict(model: object, coco: object, settings, device: object) -> list:  # type: ignore[no-untyped-def]
        tried.append((settings.validation_batch_size, settings.number_of_workers))
        if settings.validation_batch_size > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        if settings.number_of_workers > 1:
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. ")
        return []

    monkeypatch.setattr(validation, "predict", predict)
    settings = complete({"validation_batch_size": 8, "number_of_workers": 4})
    found = validation.evaluate(
        nn.Linear(1, 1), PreparedDataset.read(tiny_prepared), settings, PLAIN, 1, Team()
    )
    assert tried == [(8, 4), (4, 4), (2, 4), (2, 2), (2, 1)]
    assert found["score"] == 0


class Fragile(TrainingDataset):
    """Its loading processes die over the picture with index 5, but for the one that trains."""

    def __getitem__(self, index: int):  # type: ignore[no-untyped-def]
        worker = torch.utils.data.get_worker_info()
        if index == 5 and worker is not None:
            import os

            os._exit(9)
        return super().__getitem__(index)


def test_a_loader_that_dies_is_done_without(tiny_prepared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    coco = PreparedDataset.read(tiny_prepared).coco("train")
    settings = complete({"training_batch_size": 2, "number_of_workers": 2})

    def pictures(dataset: TrainingDataset, workers: int) -> Iterator[torch.Tensor]:
        chosen = settings.model_copy(update={"number_of_workers": workers})
        for step in Feed(dataset, chosen, seed=3).epoch(1):
            for batch, _ in step.batches.values():
                yield from batch

    found, expected = (
        list(pictures(Fragile(coco, settings), 2)),
        list(pictures(TrainingDataset(coco, settings), 0)),
    )
    assert len(found) == len(coco["images"])
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    said = capsys.readouterr().out
    assert "going on with 1 of them" in said
    assert "going on with 0 of them" in said


def test_a_picture_that_cannot_be_read_is_no_lack_of_memory() -> None:
    error = RuntimeError("Caught RuntimeError in DataLoader worker process 0.\nOriginal Traceback")
    assert not feeding.lost_a_worker(error)


def test_half_precision_leaves_out_a_step_that_overflows_and_takes_the_next() -> None:
    layer, precision = nn.Linear(2, 1), Precision(torch.float16, CPU)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().clone()
    for taken in (0, 1):  # a gradient of 1, scaled by 2 ** 16, is too large for float16; by 2 ** 15 it isn't
        optimizer.zero_grad()
        with precision.pass_():
            loss = layer(torch.ones(1, 2)).float().sum()
        precision.scaler.scale(loss).backward()
        precision.scaler.unscale_(optimizer)
        precision.scaler.step(optimizer)
        precision.scaler.update()
        assert torch.allclose(layer.weight, before - 0.1 * taken)
    assert json.loads(json.dumps(precision.scaler.state_dict()))["scale"] == 2.0**15
