"""Several processes train as one does that takes as many batches a step; nothing is counted twice."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from maskline import checkpoint
from maskline.artifacts import TrialDirectory
from maskline.components.sweep_trial import team as room
from maskline.components.sweep_trial import train as training
from maskline.components.sweep_trial.feed import Feed
from maskline.components.sweep_trial.interruption import Interruption, Stopped
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.team import Team, launch, processes_for
from maskline.components.sweep_trial.train import main, train
from maskline.dataset import PreparedDataset
from maskline.models import build_model
from maskline.settings import complete
from maskline.training_data import TrainingDataset

LIGHT = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 32,
    "max_size": 32,
    "number_of_workers": 0,
    "number_of_epochs": 2,
    "training_batch_size": 2,
    "validation_batch_size": 2,
    "log_validation_loss": "enable",
}
TOLERANCE = 1e-5
"""Relative to the largest number of a tensor: two trainings that add up the same numbers, in any order."""


@pytest.mark.parametrize(("pictures", "accumulated", "ranks"), [(12, 1, 2), (11, 2, 2), (5, 1, 4), (3, 8, 2)])
def test_the_processes_share_the_steps_of_one(
    pictures: int, accumulated: int, ranks: int, tiny_prepared: Path
) -> None:
    coco = PreparedDataset.read(tiny_prepared).coco("train")
    dataset = TrainingDataset({**coco, "images": coco["images"][:pictures]}, complete(LIGHT))
    chosen = {"training_batch_size": 2, "number_of_workers": 0}

    def steps(accumulated: int, rank: int = 0, ranks: int = 1) -> list[tuple[dict, int]]:
        settings = complete({**chosen, "gradient_accumulation_step": accumulated})
        feed = Feed(dataset, settings, 7, rank, ranks)
        found = [
            ({n: [int(t["image_id"]) for t in targets] for n, (_, targets) in s.batches.items()}, s.pictures)
            for s in feed.epoch(3)
        ]
        assert len(found) == feed.steps_per_epoch
        return found

    alone = steps(accumulated * ranks)
    shared = [steps(accumulated, rank, ranks) for rank in range(ranks)]
    for number, (batches, size) in enumerate(alone):
        together = {k: v for own in shared for k, v in own[number][0].items()}
        assert together == batches
        assert {own[number][1] for own in shared} == {size}
    seen = [image for batches, _ in alone for batch in batches.values() for image in batch]
    assert sorted(seen) == sorted(image["id"] for image in dataset.images)


def test_a_feed_that_continues_gives_the_steps_that_are_left(tiny_prepared: Path) -> None:
    dataset = TrainingDataset(PreparedDataset.read(tiny_prepared).coco("train"), complete(LIGHT))
    feed = Feed(dataset, complete({"training_batch_size": 2, "number_of_workers": 0}), seed=7)
    numbers = [list(step.batches) for step in feed.epoch(1)]
    assert [list(step.batches) for step in feed.epoch(1, first=4)] == numbers[4:] == [[4], [5]]


def test_as_many_processes_as_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    for gpus, distributed, expected in ((0, True, 1), (1, True, 1), (4, True, 4), (4, False, 1)):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert processes_for(complete({"distributed": distributed})) == expected
    monkeypatch.setenv("RANK", "1")  # one of a team doesn't start another
    assert processes_for(complete({"distributed": True})) == 1


def test_several_gpus_are_launched_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    spec = TrialSpec({**LIGHT, "distributed": True}, "data", str(tmp_path), 3, 0.0).write()
    asked = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(training, "launch", lambda path, size, stop: (asked.append((path, size)), 7)[1])
    before = signal.getsignal(signal.SIGTERM)
    try:
        assert main([str(spec)]) == 7
    finally:
        signal.signal(signal.SIGTERM, before)
    assert asked == [(spec, 3)]


class Leaving(Interruption):
    """Asks to stop when the first epoch's line is there."""

    def __init__(self, files: TrialDirectory) -> None:
        super().__init__()
        self._files = files

    @property
    def asked(self) -> bool:
        return self._files.metrics.exists()


@pytest.mark.parametrize("frozen", [True, False])
def test_two_processes_train_as_one_with_twice_the_batches(
    frozen: bool, tiny_prepared: Path, tmp_path: Path
) -> None:
    """Two gloo processes with a batch of 2, evicted and started again, against one with two batches of 2 a
    step and twice the learning rate. Where batch normalisation isn't frozen, running statistics differ.
    """
    torch.set_num_threads(1)
    donor = tmp_path / "donor.safetensors"
    torch.manual_seed(5)
    save_file(build_model(complete({**LIGHT, "advanced_settings": None}), 4).state_dict(), donor)
    wanted = str(donor) if frozen else "none"
    start = {"advanced_settings": {"pretrained_weights": wanted}, "learning_rate": 0.002}
    deadline = time.time() + 600

    alone, shared = TrialDirectory(tmp_path / "alone"), TrialDirectory(tmp_path / "shared")
    twice = {"gradient_accumulation_step": 2, "learning_rate": 0.004}
    one = TrialSpec({**LIGHT, **start, **twice}, str(tiny_prepared), str(alone.path), 3, deadline)
    one.write()
    train(one)
    two = TrialSpec({**LIGHT, **start}, str(tiny_prepared), str(shared.path), 3, deadline).write()
    os.environ["OMP_NUM_THREADS"] = "1"
    with pytest.raises(Stopped):
        launch(two, 2, Leaving(shared))
    assert len(shared.metrics.read_text().splitlines()) == 1
    assert launch(two, 2, Interruption()) == 0

    ours, theirs = load_file(shared.last), load_file(alone.last)
    begun = load_file(donor)
    moved, other = 0.0, set()
    for name, tensor in theirs.items():
        if not torch.allclose(ours[name], tensor, rtol=0, atol=TOLERANCE * tensor.abs().max()):
            other.add(name.rpartition(".")[2])
        if frozen and tensor.is_floating_point():
            moved = max(moved, (tensor - begun[name]).abs().max().item())
    assert other == (set() if frozen else {"running_mean", "running_var", "num_batches_tracked"})
    assert moved > 0.001 or not frozen  # the weights are not equal because nothing was learnt
    for line, another in zip(*(f.metrics.read_text().splitlines() for f in (shared, alone)), strict=True):
        a, b = json.loads(line), json.loads(another)
        for name in ("train_loss", "loss_mask", "learning_rate"):
            assert a[name] == pytest.approx(b[name], rel=TOLERANCE)
        if frozen:
            assert a["validation_loss"] == pytest.approx(b["validation_loss"], rel=TOLERANCE)
            assert a["mask_AP50"] == pytest.approx(b["mask_AP50"], abs=TOLERANCE)
    if frozen:
        assert checkpoint.describe(shared.best).epoch == checkpoint.describe(alone.best).epoch


def share(rank: int, folder: Path) -> None:
    """One of two processes: the first sees a batch in both steps, the second in the first step only."""
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    layer, team = torch.nn.BatchNorm2d(1, momentum=0.5), Team(rank, 2)
    for step in (1, 2):
        learns = step == 1 or rank == 0
        if learns:
            layer(torch.full((1, 1, 2, 2), 8.0 + 8 * rank))
        losses, late = team.add_up(layer, {"train_loss": 1.0 + rank} if learns else {}, late=not learns)
        found = [layer.running_mean.item(), losses["train_loss"], late]
        (folder / f"{rank}-{step}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def test_batch_statistics_are_the_mean_of_those_that_had_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(Path(__file__).parents[3])  # where the processes find this module
    team = [multiprocessing.get_context("spawn").Process(target=share, args=(n, tmp_path)) for n in (0, 1)]
    for process in team:
        process.start()
    for process in team:
        process.join(60)
        assert process.exitcode == 0
    for rank in (0, 1):
        first, second = (json.loads((tmp_path / f"{rank}-{step}.json").read_text()) for step in (1, 2))
        assert first == [(4 + 8) / 2, 3.0, False]
        assert second == [(6 + 8) / 2, 1.0, True]


def test_one_that_fails_ends_them_all(tiny_prepared: Path, tmp_path: Path) -> None:
    class Process:
        def __init__(self, *codes: int | None) -> None:
            self.codes = list(codes)

        def poll(self) -> int | None:
            return self.codes.pop(0) if len(self.codes) > 1 else self.codes[0]

    assert room._ended([Process(None), Process(None)]) is None
    assert room._ended([Process(None), Process(-9)]) == -9
    assert room._ended([Process(0), Process(None)]) == 0
    assert room._ended([Process(143), Process(None)]) == 143


def test_alone_nothing_is_added_up() -> None:
    assert Team().add_up(torch.nn.Linear(1, 1), {"train_loss": 1.5}, False) == ({"train_loss": 1.5}, False)
    assert Team().gather([1, 2]) == [1, 2]
    assert Team().tell("x") == "x"
