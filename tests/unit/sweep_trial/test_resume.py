"""A training that was stopped, killed or evicted continues as if nothing had happened: to the bit."""

import json
import multiprocessing
import os
import signal
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from maskline import checkpoint, storage
from maskline.artifacts import TrialDirectory
from maskline.components.sweep_trial import resume
from maskline.components.sweep_trial import train as room
from maskline.components.sweep_trial.interruption import Interruption, Stopped
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.train import main, train
from maskline.errors import CheckpointError, StageError, StorageError

EPOCHS = 3
STEPS = 3  # an epoch: 12 pictures in batches of 4
CHOSEN = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 32,
    "max_size": 32,
    "number_of_workers": 0,
    "number_of_epochs": EPOCHS,
    "training_batch_size": 4,
    "optimizer": "adamw",
    "learning_rate": 0.001,
    "early_stopping_delay": 1,
    "layers_to_freeze": 5,
}
TIMES = ("seconds", "images_per_second", "data_seconds")


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluation in no time: a number that every weight has a part in."""

    def score(model: torch.nn.Module, *_: object) -> dict[str, float]:
        total = sum(tensor.double().abs().sum().item() for tensor in model.state_dict().values())
        return {"score": total % 1, "mask_AP": total % 7}

    monkeypatch.setattr(room, "evaluate", score)
    torch.set_num_threads(1)


def spec_of(data: Path, directory: Path, **changed: object) -> TrialSpec:
    chosen = {name: value for name, value in {**CHOSEN, **changed}.items() if value is not None}
    spec = TrialSpec(chosen, str(data), str(directory), 3, time.time() + 600)
    spec.write()
    return spec


def lines(files: TrialDirectory) -> list[dict]:
    """The metrics, but for what a clock measured."""
    found = [json.loads(line) for line in files.metrics.read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in found]


def assert_equal(one: TrialDirectory, other: TrialDirectory) -> None:
    """Weights, best and metrics are the same to the bit."""
    assert lines(one) == lines(other)
    for ours, theirs in ((one.last, other.last), (one.best, other.best)):
        assert checkpoint.describe(ours) == checkpoint.describe(theirs)
        mine, yours = load_file(ours), load_file(theirs)
        assert mine.keys() == yours.keys()
        assert all(torch.equal(mine[name], yours[name]) for name in mine)


class After(Interruption):
    """Asks to stop once so many blocks were held: a step each, and one at the end of an epoch."""

    def __init__(self, held: int) -> None:
        super().__init__()
        self.left = held

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left <= 0


@pytest.fixture(scope="module")
def whole(tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., TrialDirectory]:
    """An uninterrupted training, made once for each choice of settings."""
    known: dict[str, TrialDirectory] = {}

    def run(**changed: object) -> TrialDirectory:
        name = json.dumps(changed)
        if name not in known:
            directory = tmp_path_factory.mktemp("whole")
            train(spec_of(tiny_prepared, directory, **changed))
            known[name] = TrialDirectory(directory)
        return known[name]

    return run


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize(
    ("held", "changed"),
    [
        (STEPS + 2, {}),  # after the first step of the second epoch
        (2, {"optimizer": "sgd", "gradient_accumulation_step": 2, "checkpoint_frequency": 2}),
        (STEPS + 3, {"advanced_settings": {"ema_decay": 0.9, "pretrained_weights": "none"}}),
        (STEPS + 2, {"tile_grid_size": "2x1"}),  # in the first epoch, which has more steps with tiles
    ],
)
def test_stopped_in_the_middle_of_an_epoch(
    held: int, changed: dict, whole: Callable[..., TrialDirectory], tiny_prepared: Path, tmp_path: Path
) -> None:
    spec = spec_of(tiny_prepared, tmp_path, **changed)
    files = TrialDirectory(tmp_path)
    with pytest.raises(Stopped) as stopped:
        train(spec, After(held))
    assert stopped.value.code == 143
    assert checkpoint.describe(files.last).epoch < EPOCHS
    train(spec)
    assert_equal(files, whole(**changed))
    train(spec)  # one that is over stays as it is
    assert_equal(files, whole(**changed))
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "metrics.jsonl",
        "spec.json",
        "tensorboard",
    ]


@pytest.mark.usefixtures("judged")
def test_another_family_continues_to_the_bit_too(
    tiny_rfdetr: dict, whole: Callable[..., TrialDirectory], tiny_prepared: Path, tmp_path: Path
) -> None:
    """With a side of its own for every batch, and points of masks drawn at random."""
    changed = {**tiny_rfdetr, "multi_scale": True, "number_of_epochs": 2, "layers_to_freeze": 0}
    changed |= {"min_size": None, "max_size": None}
    spec = spec_of(tiny_prepared, tmp_path, **changed)
    with pytest.raises(Stopped):
        train(spec, After(STEPS + 2))
    train(spec)
    assert_equal(TrialDirectory(tmp_path), whole(**changed))


@pytest.mark.usefixtures("judged")
def test_stopped_while_it_is_evaluated(
    monkeypatch: pytest.MonkeyPatch,
    whole: Callable[..., TrialDirectory],
    tiny_prepared: Path,
    tmp_path: Path,
) -> None:
    expected, score = whole(), room.evaluate

    def interrupted(*arguments: object) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the signal ends the evaluation")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(room, "evaluate", interrupted)
    try:
        with pytest.raises(Stopped):
            train(spec_of(tiny_prepared, tmp_path), Interruption().watch())
    finally:
        signal.signal(signal.SIGTERM, before)
    trained: list[int] = []
    monkeypatch.setattr(room, "evaluate", lambda *a: (trained.append(1), score(*a))[1])
    train(spec_of(tiny_prepared, tmp_path))
    assert len(trained) == EPOCHS
    assert_equal(TrialDirectory(tmp_path), expected)


def child(target: Callable[[], object]) -> multiprocessing.Process:
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    return process


def test_nothing_half_written_stays(tmp_path: Path) -> None:
    model = torch.nn.Linear(1, 1)
    known = checkpoint.Checkpoint({}, ("a",), 0)
    optimizer, scaler = torch.optim.SGD(model.parameters(), lr=1), torch.amp.GradScaler("cpu", enabled=False)
    left = (".last.safetensors.123", ".tmpAb12Cd", "last.safetensors", "metrics.jsonl")
    for name in left:
        (tmp_path / name).touch()
    resume.Shelf(TrialDirectory(tmp_path), known, model, optimizer, scaler).collect()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.safetensors", "metrics.jsonl"]


@pytest.mark.usefixtures("judged")
def test_killed_while_it_writes_a_checkpoint(
    whole: Callable[..., TrialDirectory], tiny_prepared: Path, tmp_path: Path
) -> None:
    expected = whole()
    spec = spec_of(tiny_prepared, tmp_path)
    real, written = checkpoint.save_file, []

    def dies(tensors: dict, path: Path, metadata: dict) -> None:
        """Half of the third file, and no more."""
        real(tensors, path, metadata)
        written.append(path)
        if len([p for p in written if "last" in p.name]) == 2:
            os.truncate(path, path.stat().st_size // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        checkpoint.save_file = dies  # type: ignore[assignment]
        train(spec)

    process = child(run)
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    files = TrialDirectory(tmp_path)
    assert [p for p in tmp_path.iterdir() if p.name.startswith(".last")]
    assert len(lines(files)) == 2  # the second epoch's line was written, its checkpoint wasn't
    train(spec)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]
    assert_equal(files, expected)


class Struck(After):
    """Kills its process instead."""

    @property
    def asked(self) -> bool:
        if super().asked:
            os.kill(os.getpid(), signal.SIGKILL)
        return False


@pytest.mark.usefixtures("judged")
@pytest.mark.parametrize("steps", [1, STEPS - 1])
def test_killed_in_the_middle_of_a_long_epoch(
    steps: int,
    whole: Callable[..., TrialDirectory],
    tiny_prepared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing is saved when it dies; what was saved before is of the same epoch."""
    expected = whole()
    spec = spec_of(tiny_prepared, tmp_path)
    with monkeypatch.context() as always:
        always.setattr(resume, "KEEP_SECONDS", 0.0)
        process = child(lambda: train(spec, Struck(steps)))
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    train(spec)
    assert f"epoch 1, {steps} steps of it done" in capsys.readouterr().out
    assert_equal(TrialDirectory(tmp_path), expected)


@pytest.mark.usefixtures("judged")
def test_sigterm_ends_the_process_with_143(
    whole: Callable[..., TrialDirectory], tiny_prepared: Path, tmp_path: Path
) -> None:
    expected = whole()
    spec = spec_of(tiny_prepared, tmp_path)
    files = TrialDirectory(tmp_path)
    process = child(lambda: os._exit(_code(lambda: main([str(files.spec)]))))
    deadline = time.time() + 100
    while not files.last.exists() and time.time() < deadline:
        time.sleep(0.05)
    process.terminate()
    process.join(60)
    assert process.exitcode == 143
    assert len(lines(files)) < EPOCHS
    assert not files.failure.exists()
    train(spec)
    assert_equal(files, expected)


def _code(run: Callable[[], int]) -> int:
    try:
        return run()
    except SystemExit as end:
        return int(end.code or 0)


@pytest.mark.usefixtures("judged")
def test_checkpoints_at_a_uri_outlive_the_directory(
    whole: Callable[..., TrialDirectory], tiny_prepared: Path, tmp_path: Path
) -> None:
    copies = f"memory://{uuid.uuid4().hex}/run/trials/0"
    first = replace(spec_of(tiny_prepared, tmp_path / "pod"), copies=copies)
    with pytest.raises(Stopped):
        train(first, After(STEPS + 2))
    second = replace(spec_of(tiny_prepared, tmp_path / "other"), copies=copies)
    train(second)
    files = TrialDirectory(tmp_path / "other")
    assert_equal(files, whole())
    for path in (files.last, files.best, files.metrics):
        assert storage.read_bytes(f"{copies}/{path.name}") == path.read_bytes()


@pytest.mark.usefixtures("judged")
def test_a_store_that_is_away_ends_no_training_before_its_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tiny_prepared: Path, tmp_path: Path
) -> None:
    def away(source: Path, place: str) -> None:
        raise StorageError(f"{place} can't be written")

    monkeypatch.setattr(resume.storage, "put", away)
    spec = replace(spec_of(tiny_prepared, tmp_path), copies=f"memory://{uuid.uuid4().hex}")
    with pytest.raises(StorageError):
        train(spec)
    assert capsys.readouterr().out.count("training goes on") == EPOCHS - 1
    assert checkpoint.describe(TrialDirectory(tmp_path).last).epoch == EPOCHS


class TestDamage:
    @pytest.fixture
    def stopped(self, judged: None, tiny_prepared: Path, tmp_path: Path) -> tuple[TrialSpec, TrialDirectory]:
        """A training that was stopped in its third epoch, so that there are `last` and `previous`."""
        spec = spec_of(tiny_prepared, tmp_path)
        with pytest.raises(Stopped):
            train(spec, After(2 * (STEPS + 1) + 1))
        return spec, TrialDirectory(tmp_path)

    def test_the_checkpoint_before_is_taken_and_it_is_said(
        self,
        stopped: tuple[TrialSpec, TrialDirectory],
        whole: Callable[..., TrialDirectory],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        spec, files = stopped
        content = bytearray(files.last.read_bytes())
        content[-1000] ^= 1  # one bit of one weight
        files.last.write_bytes(content)
        with pytest.raises(CheckpointError, match="its tensors are not those that were written"):
            checkpoint.restore(files.last)
        train(spec)
        said = capsys.readouterr().out
        assert "last.safetensors is damaged" in said
        assert "going on from the checkpoint before it" in said
        assert f"going on from {files.previous}" in said
        assert_equal(files, whole())

    def test_without_any_it_starts_anew(
        self,
        stopped: tuple[TrialSpec, TrialDirectory],
        whole: Callable[..., TrialDirectory],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        spec, files = stopped
        for path in (files.last, files.previous):
            path.write_bytes(path.read_bytes()[:1000])
        train(spec)
        assert capsys.readouterr().out.count("is no checkpoint of Maskline") == 2
        assert_equal(files, whole())

    def test_a_checkpoint_of_another_version_is_not_guessed_at(
        self,
        stopped: tuple[TrialSpec, TrialDirectory],
        monkeypatch: pytest.MonkeyPatch,
        whole: Callable[..., TrialDirectory],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        spec, files = stopped
        read = checkpoint.read_weights

        def older(path: Path, model: torch.nn.Module) -> checkpoint.Training | None:
            training = read(path, model)
            if training:
                training.plain["progress"]["no_longer_known"] = 1
            return training

        monkeypatch.setattr(resume.checkpoint, "read_weights", older)
        train(spec)
        assert capsys.readouterr().out.count("was written by another version of Maskline") == 2
        assert_equal(files, whole())  # from the start, not from the weights that were read

    def test_another_training_is_refused(self, stopped: tuple[TrialSpec, TrialDirectory]) -> None:
        spec, _ = stopped
        other = replace(spec, settings={**spec.settings, "learning_rate": 0.5})
        with pytest.raises(StageError, match=r"of a training with other settings .*a directory of its own"):
            train(other)

    def test_nothing_is_pickled(self, stopped: tuple[TrialSpec, TrialDirectory]) -> None:
        _, files = stopped
        tensors = load_file(files.last)
        kept = {name.rsplit(".", 1)[-1] for name in tensors if name.startswith("@optimizer")}
        assert kept == {"exp_avg", "exp_avg_sq", "step"}
        model, said = checkpoint.restore(files.last)  # a model as any other
        assert said.epoch == 2
        assert not [name for name in model.state_dict() if name.startswith("@")]


def test_an_optimizer_of_numbers_and_tensors_comes_back() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), amsgrad=True)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    tensors, plain = resume._flat(optimizer)
    again = torch.optim.Adam(model.parameters(), amsgrad=True)
    resume._put(checkpoint.Training(tensors, {"optimizer": json.loads(json.dumps(plain))}), again)
    for one, other in zip(optimizer.state.values(), again.state.values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(torch.as_tensor(one[n]), torch.as_tensor(other[n])) for n in one)
