"""One training with one complete set of settings, in a process of its own.

Run by `supervise` as `python -m maskline.components.sweep_trial SPEC`; it knows nothing of the sweep.
In a directory that holds an unfinished training, it goes on from there, to the bit on the same device. On
SIGTERM it finishes the step, keeps a checkpoint and ends with exit code 143.
"""

import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from maskline.artifacts import TrialDirectory
from maskline.checkpoint import Checkpoint
from maskline.dataset import PreparedDataset
from maskline.errors import MasklineError
from maskline.families import notes
from maskline.models import build_model, family_of, weights
from maskline.prediction import default_device
from maskline.settings import TrainingSettings, complete
from maskline.training_data import TrainingDataset

from .batch_statistics import measure_statistics
from .compiling import compile_backbone
from .feed import Feed
from .gradients import Gradients, check_finite
from .interruption import Interruption, Stopped
from .optimization import (
    EarlyStopping,
    clip_gradients,
    learning_rate_factor,
    make_average,
    make_optimizer,
)
from .precision import prepare
from .record import Record, Stopwatch
from .resume import Progress, Shelf
from .spec import TrialSpec
from .team import Team, launch, processes_for
from .validation import evaluate

ALONE = Team()


def train(spec: TrialSpec, stop: Interruption | None = None, team: Team = ALONE) -> None:
    """Train, evaluate, and leave metrics and checkpoints in the trial's directory.

    Raises:
        StageError: the loss is no longer a number, or explodes.
        WeightsError: the weights to start from can't be had.
        Stopped: the training was asked to stop; `last` is where it continues.
    """
    stop = stop or Interruption()
    settings = complete(spec.settings)
    files = TrialDirectory(Path(spec.directory))
    data = PreparedDataset.read(spec.data)
    for note in notes(settings) if team.leads else ():
        print(note)
    augment = settings.advanced.apply_automl_train_augmentations
    dataset = TrainingDataset(data.coco("train"), settings, augment=augment, seed=spec.seed)
    # Loading processes are forked here, before there is a model, or a GPU in use.
    feed = Feed(dataset, settings, spec.seed, team.rank, team.size)
    precision = prepare(settings.advanced, default_device())
    torch.manual_seed(spec.seed)

    model = precision.place(build_model(settings, len(data.classes)))
    average = make_average(model, settings.advanced.ema_decay)
    judged = model if average is None else average.module
    optimizer = make_optimizer(model, settings)
    known = Checkpoint(spec.settings, data.classes, 0, digest=data.digest)
    shelf = Shelf(files, known, model, optimizer, precision.scaler, average, spec.copies, team.leads)
    shelf.collect()
    team.wait()
    progress = shelf.restore()
    if progress is None:
        progress = Progress()
        begun = _start(model, settings, data.classes)
        if settings.checkpoint_run_id is not None:
            measure_statistics(model, begun, dataset, precision)
    family = family_of(settings.model_name)
    if settings.advanced.torch_compile:
        compile_backbone(model, settings, precision)
    measured = settings.validation_metric_type != "none"
    stopping = EarlyStopping(settings)
    stopping.restore(**progress.stopping)
    gradients = Gradients(model, precision, spec.seed, progress.most)
    record = Record(files, progress, settings.number_of_epochs * feed.steps_per_epoch, team.leads)
    watch = Stopwatch()
    late = False

    def rate(step: int) -> float:
        factor = learning_rate_factor(step, feed.steps_per_epoch, settings)
        return settings.learning_rate * team.size * factor

    try:
        while not progress.over:
            model.train()
            for step in feed.epoch(progress.epoch, first=progress.steps):
                with stop.held():
                    learning_rate = rate(progress.total)
                    for parameters in optimizer.param_groups:
                        parameters["lr"] = learning_rate
                    losses = gradients.of(step, progress.epoch)
                    losses, late = team.add_up(model, losses, time.time() > spec.deadline)
                    check_finite(losses, progress.epoch, family.diverged_loss, settings.checkpoint_run_id)
                    precision.scaler.unscale_(optimizer)
                    clip_gradients(model, settings.advanced)
                    precision.scaler.step(optimizer)
                    precision.scaler.update()
                    if average is not None:
                        average.update_parameters(model)
                    taken = watch.lap()
                    progress.add(losses, step.pictures, taken, step.waited)
                    progress.most = gradients.most
                    record.step(losses, learning_rate, step.pictures / taken, step.waited / taken)
                    if shelf.due:
                        shelf.keep(progress)
                        progress.seconds += watch.lap()
                if late:
                    break

            over = late or progress.epoch == settings.number_of_epochs
            metrics: dict[str, float] = {}
            if over or (measured and progress.epoch % settings.evaluation_frequency == 0):
                metrics = evaluate(judged, data, settings, precision, spec.seed, team)
            with stop.held():
                progress.seconds += watch.lap()
                record.epoch(rate(progress.total - 1), metrics)
                if metrics and stopping.improved(metrics["score"]):
                    shelf.best(judged, progress.epoch, metrics)
                progress.stopping = stopping.state()
                progress.over = over or stopping.over
                due = progress.over or progress.epoch % settings.checkpoint_frequency == 0
                if not progress.over:
                    progress.next_epoch()
                if due:
                    shelf.keep(progress)
    except Stopped:
        shelf.keep(progress)
        raise
    finally:
        record.close()
    if late or stopping.over:
        print("stopped early: " + ("out of time" if late else "no more improvement"))


def _start(model: nn.Module, settings: TrainingSettings, classes: Sequence[str]) -> Mapping[str, Tensor]:
    """Give a new model the weights that training starts from; their tensors by name, none from scratch."""
    if (found := weights.fetch(settings)) is None:
        return {}
    missing = weights.load(family_of(settings.model_name), model, found, classes)
    print(f"not in the weights, so trained from scratch: {', '.join(missing) or 'nothing'}")
    return found.tensors


def main(arguments: list[str]) -> int:
    """Train by the spec file named; a failure leaves its reason in one line beside it."""
    stop = Interruption().watch()
    spec = TrialSpec.read(Path(arguments[0]))
    failure = TrialDirectory(Path(spec.directory)).failure
    try:
        team = Team.join()
        if team.size == 1:
            failure.unlink(missing_ok=True)
        if (size := processes_for(complete(spec.settings))) > 1:
            return launch(Path(arguments[0]), size, stop)
        train(spec, stop, team)
        team.leave()
    except Exception as error:  # whatever it was, the supervisor records it as this trial's failure
        traceback.print_exc()
        if not failure.exists():  # of several processes, the first to fail knows why
            failure.write_text(_reason(error), encoding="utf-8")
        return 1
    return 0


def _reason(error: Exception) -> str:
    if isinstance(error, MasklineError):
        return " ".join(str(error).split())
    text = f"{type(error).__name__}: {error}".strip().splitlines()[0]
    if isinstance(error, torch.OutOfMemoryError):
        return f"{text}; lower min_size and max_size, or image_size: not even one picture fits"
    return text
