"""Every training parameter has the effect that it promises: one row a parameter, two or more values each.

Most rows run the real training loop, feed, optimiser and records over a model of two numbers, whose losses
and gradients are known; the others ask the real model or the real metrics. The numbers of the rows are those
of Azure ML's list of 45.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools import mask as rle
from torch import nn

from maskline.artifacts import TrialDirectory
from maskline.components.sweep_trial import feed as feeding
from maskline.components.sweep_trial import resume, validation
from maskline.components.sweep_trial import train as room
from maskline.components.sweep_trial.gradients import Gradients
from maskline.components.sweep_trial.optimization import make_optimizer
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.team import processes_for
from maskline.dataset import PreparedDataset
from maskline.merging import Merger
from maskline.metrics import primary_score
from maskline.models import build_model
from maskline.prediction import predict
from maskline.settings import TrainingSettings, complete, obstacles
from maskline.study import seed_of
from maskline.tiling import Tiling
from maskline.training_data import TrainingDataset

LIGHT = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 32,
    "max_size": 64,
    "number_of_workers": 0,
    "training_batch_size": 4,  # 3 steps an epoch: there are 12 pictures
    "number_of_epochs": 2,
}


class Two(nn.Module):
    """A model of a weight and a bias: its loss is weight * the pictures' mean + bias."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))
        self.bias = nn.Parameter(torch.zeros(1))
        self.backbone = nn.Identity()
        self.roi_heads = SimpleNamespace(score_thresh=0.0)
        self.seen: list[dict[str, Any]] = []

    def forward(self, pictures: list[torch.Tensor], targets: list[dict]) -> dict[str, torch.Tensor]:
        means = torch.stack([picture.float().mean() / 255 for picture in pictures])
        loss = (self.weight * means.mean()).sum() + self.bias.sum()
        ids = [int(target["image_id"]) for target in targets]
        self.seen.append({"ids": ids, "means": means, "learns": torch.is_grad_enabled()})
        return {"loss_classifier": loss * 0.75, "loss_mask": loss * 0.25}


@dataclass
class Observed:
    """What a training did.

    Attributes:
        model: Two, as it was left.
        optimizer: as it was left.
        lines: the metrics.
        kept: epochs of which `last` was written.
        best: epochs of which `best` was written.
        loaders: (loading processes, pictures of the first batch) of every loader.
        steps: steps of the optimiser.
        directory: of the trial.
    """

    model: Two
    directory: Path
    optimizer: Any = None
    lines: list[dict] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    best: list[int] = field(default_factory=list)
    loaders: list[int] = field(default_factory=list)
    steps: int = 0

    def batches(self, learns: bool = True) -> list[int]:
        return [len(batch["ids"]) for batch in self.model.seen if batch["learns"] is learns]

    def rates(self, places: int = 4) -> list[float]:
        """The learning rate of each epoch's last step."""
        return [round(line["learning_rate"], places) for line in self.lines]


Train = Callable[..., Observed]


@pytest.fixture
def trained(tiny_prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    torch.set_num_threads(1)

    def run(*, seed: int = 3, **chosen: Any) -> Observed:
        seen = Observed(Two(), tmp_path / f"{time.time_ns()}")

        def optimizer(*arguments: Any) -> Any:
            seen.optimizer = made = make_optimizer(*arguments)
            step = made.step
            made.step = lambda *a, **k: (setattr(seen, "steps", seen.steps + 1), step(*a, **k))[1]
            return made

        def save(path: Path, model: nn.Module, said: Any, *more: Any) -> None:
            (seen.best if path.name.startswith("best") else seen.kept).append(said.epoch)

        def loader(*arguments: Any, **named: Any) -> Any:
            made = feeding_loader(*arguments, **named)
            seen.loaders.append(made.num_workers)
            return made

        feeding_loader = validation.loader
        with monkeypatch.context() as patch:
            patch.setattr(room, "build_model", lambda *_: seen.model)
            patch.setattr(room, "make_optimizer", optimizer)
            patch.setattr(resume.checkpoint, "save", save)
            patch.setattr(validation, "predict", lambda *_, **__: [])
            patch.setattr(feeding, "loader", loader)
            spec = TrialSpec(
                {**LIGHT, **chosen}, str(tiny_prepared), str(seen.directory), seed, time.time() + 600
            )
            spec.write()
            room.train(spec)
        files = TrialDirectory(seen.directory)
        seen.lines = [json.loads(line) for line in files.metrics.read_text().splitlines()]
        return seen

    return run


def light(**chosen: Any) -> nn.Module:
    torch.manual_seed(0)
    advanced = (
        {"advanced_settings": {"pretrained_weights": "none"}} if "advanced_settings" not in chosen else {}
    )
    if "checkpoint_run_id" in chosen:
        advanced = {}
    return build_model(complete({**LIGHT, **advanced, **chosen}), 2)


# --- probes: settings -> what was seen -------------------------------------------------------------------


def group(name: str) -> Callable[[Train, dict], Any]:
    """A number of the optimiser's first group."""
    return lambda train, chosen: train(**chosen).optimizer.param_groups[0][name]


def curve(train: Train, chosen: dict) -> list[float]:
    """The learning rate of every step, by the points that TensorBoard gets."""
    rates: list[float] = []
    original = room.Record.step
    try:
        room.Record.step = lambda self, losses, rate, *rest: rates.append(round(rate, 4))  # type: ignore[method-assign]
        train(**chosen)
    finally:
        room.Record.step = original  # type: ignore[method-assign]
    return rates


def moved_pictures(train: Train, chosen: dict) -> bool:
    """Whether a picture is another in the second epoch."""
    seen: dict[int, set[float]] = {}
    for batch in train(**chosen).model.seen:
        for image, mean in zip(batch["ids"], batch["means"].tolist(), strict=True):
            seen.setdefault(image, set()).add(round(mean, 5))
    return any(len(means) > 1 for means in seen.values())


def epochs_until_it_stops(train: Train, chosen: dict) -> int:
    """Its score is always 0, so that the first evaluation is the only improvement."""
    return len(train(**{"number_of_epochs": 12, **chosen}).lines)


def frozen(_: Train, chosen: dict) -> list[str]:
    body = light(**chosen).backbone.body
    stages = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    return [s for s in stages if not any(p.requires_grad for p in getattr(body, s).parameters())]


def started_from(_: Train, chosen: dict, folder: Path) -> bool:
    """Whether the weights are those of the run."""
    donor = light()
    from maskline.checkpoint import Checkpoint, save

    (folder / "model").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(99)
    donor = build_model(complete(LIGHT), 2)
    save(folder / "model/checkpoint.safetensors", donor, Checkpoint(LIGHT, ("a", "b"), 1))
    settings = complete({**LIGHT, **{k: str(folder) for k in chosen}})
    model = build_model(settings, 2)
    room._start(model, settings, ("a", "b"))
    names = ("backbone.body.layer4.1.conv2.weight", "roi_heads.mask_predictor.mask_fcn_logits.weight")
    return all(torch.equal(model.state_dict()[n], donor.state_dict()[n]) for n in names)


def sizes(_: Train, chosen: dict) -> tuple[int, int]:
    """Height and width of a picture of 40 by 100 pixels, as the network sees it."""
    images, _targets = light(**chosen).transform.eval()([torch.rand(3, 40, 100)])
    return tuple(images.image_sizes[0])  # type: ignore[return-value]


def detected(_: Train, chosen: dict) -> list[float]:
    """The scores that are left of three boxes: two that overlap by half, and one by itself."""
    heads = light(**chosen).roi_heads
    boxes = torch.tensor([[0.0, 0, 30, 10], [10, 0, 40, 10], [0, 40, 30, 60]])  # IoU of the first two: 0.5
    logits = torch.log(torch.tensor([[0.05, 0.9, 0.05], [0.3, 0.6, 0.1], [0.55, 0.4, 0.05]]))
    _, scores, _ = heads.postprocess_detections(logits, torch.zeros(3, 12), [boxes], [(64, 64)])
    return [round(score, 2) for score in scores[0].tolist()]


def judged(_: Train, chosen: dict) -> dict[str, float]:
    """Metrics of one detection that overlaps its object by 0.6."""
    whole, part = torch.zeros(10, 10, dtype=torch.uint8), torch.zeros(10, 10, dtype=torch.uint8)
    whole[:10, :10], part[:6, :10] = 1, 1
    masks = [rle.encode(m.numpy().astype("uint8", order="F")) for m in (whole, part)]
    truth = {
        "images": [{"id": 1, "height": 10, "width": 10}],
        "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": masks[0], "iscrowd": 0}],
    }
    found = [{"image_id": 1, "category_id": 1, "score": 0.9, "segmentation": masks[1]}]
    score, metrics = primary_score(complete(chosen), truth, found)
    return {"score": round(score, 3)} | {
        n: round(metrics[n], 3) for n in ("mask_AP", "voc_mAP") if n in metrics
    }


def evaluated_together(trained: Train, chosen: dict, data: Path) -> list[int]:
    """How many pictures the network gets at a time in evaluation; there are 3."""
    model, together = light(), []
    forward = model.forward
    model.forward = lambda pictures: (together.append(len(pictures)), forward(pictures))[1]  # type: ignore[assignment]
    predict(model, PreparedDataset.read(data).coco("validation"), complete({**LIGHT, **chosen}))
    return together


def pictures_seen(train: Train, chosen: dict) -> list[int]:
    return train(**chosen).batches()


def mean_gradient(_: Train, chosen: dict, data: Path) -> tuple[int, bool]:
    """Steps an epoch; whether a step's gradient and loss are means over its pictures, also the last one's."""
    coco = PreparedDataset.read(data).coco("train")
    settings, model, count, right = complete({**LIGHT, **chosen}), Two(), 0, True
    dataset = TrainingDataset({**coco, "images": coco["images"][:11]}, settings)
    feed = feeding.Feed(dataset, settings, seed=1)
    gradients = Gradients(model, room.prepare(settings.advanced, torch.device("cpu")), seed=1)
    for step in feed.epoch(1):
        losses = gradients.of(step, 1)
        mean = torch.cat([b["means"] for b in model.seen[-len(step.batches) :]]).mean().item()
        right &= abs(model.weight.grad.item() - mean) < 1e-6  # type: ignore[union-attr]
        right &= abs(losses["train_loss"] - mean) < 1e-6
        count += 1
    return count, right


def views_seen(_: Train, chosen: dict, data: Path) -> list[tuple[int, int]]:
    """Sizes of what is shown to the network of one picture, in evaluation; it is 64 by 64."""
    image = {**PreparedDataset.read(data).coco("validation")["images"][0]}
    model, seen = light(**chosen), []
    forward = model.forward
    model.forward = lambda views: (seen.extend(v.shape[:0:-1] for v in views), forward(views))[1]  # type: ignore[assignment]
    predict(model, {"images": [image]}, complete({**LIGHT, **chosen}))
    return [tuple(size) for size in seen]


def merged_at(_: Train, chosen: dict) -> int:
    """How many detections are left of two of different windows, whose masks have an IoU of 0.5."""
    tiling = Tiling.of(complete(chosen))
    assert tiling
    merger = Merger(60, 40, tiling)
    masks = np.zeros((2, 40, 60), dtype=np.uint8)
    masks[0, 10:20, 5:11], masks[1, 10:20, 7:13] = 1, 1  # small enough for tiles to count
    for view, mask in enumerate(masks):
        _, _, wide, high = merger.views[view]
        mask = np.asfortranarray(mask[:high, :wide])
        found = {"category_id": 1, "score": 0.9, "bbox": [0, 0, 1, 1], "segmentation": rle.encode(mask)}
        merger.add(view, [found])
    return len(merger.merged())


def names_of_metrics(*wanted: str) -> Callable[[Train, dict], list[bool]]:
    return lambda train, chosen: [all(n in line for line in train(**chosen).lines) for n in wanted]


def widths(_: Train, chosen: dict) -> tuple[int, int]:
    """Channels of the pyramid and of the last stage of the backbone."""
    model = build_model(complete({**chosen, "advanced_settings": {"pretrained_weights": "none"}}), 1)
    return model.backbone.out_channels, model.backbone.body.layer4[-1].conv2.out_channels


def decays(train: Train, chosen: dict) -> list[tuple[float, int]]:
    """The weight decay of each group and how many dimensions its parameters have."""
    groups = train(**chosen).optimizer.param_groups
    return [(g["weight_decay"], p.ndim) for g in groups for p in g["params"]]


def number_of_processes(_: Train, chosen: dict) -> int:
    before = torch.cuda.device_count
    torch.cuda.device_count = lambda: 4  # type: ignore[assignment]
    try:
        return processes_for(complete(chosen))
    finally:
        torch.cuda.device_count = before  # type: ignore[assignment]


# --- the table -------------------------------------------------------------------------------------------

ADAM = {"optimizer": "adam"}
STEP = {"learning_rate_scheduler": "step", "number_of_epochs": 5, "learning_rate": 0.8}
COSINE = {"number_of_epochs": 4, "warmup_cosine_lr_warmup_epochs": 1, "learning_rate": 1.0}
PRETRAINED = {"advanced_settings": {"pretrained_weights": "imagenet"}}
IMPATIENT = {"early_stopping_delay": 1, "early_stopping_patience": 2}
WHOLE = (64, 64)
RISE_AND_FALL = [0.3333, 0.6667, 1.0, 1.0, 0.9698, 0.883, 0.75, 0.5868, 0.4132, 0.25, 0.117, 0.0302]
Effects = list[tuple[dict[str, Any], Any]]
ROWS: dict[str, tuple[int, Callable[..., Any], Effects]] = {
    "advanced_settings": (
        1,
        moved_pictures,
        [({}, True), ({"advanced_settings": {"apply_automl_train_augmentations": False}}, False)],
    ),
    "ams_gradient": (2, group("amsgrad"), [({**ADAM, "ams_gradient": True}, True), (ADAM, False)]),
    "beta1": (3, group("betas"), [({**ADAM, "beta1": 0.5}, (0.5, 0.999)), (ADAM, (0.9, 0.999))]),
    "beta2": (4, group("betas"), [({"optimizer": "adamw", "beta2": 0.9}, (0.9, 0.9)), (ADAM, (0.9, 0.999))]),
    "checkpoint_frequency": (
        5,
        lambda train, chosen: train(number_of_epochs=5, early_stopping=False, **chosen).kept,
        [({}, [1, 2, 3, 4, 5]), ({"checkpoint_frequency": 2}, [2, 4, 5]), ({"checkpoint_frequency": 9}, [5])],
    ),
    "checkpoint_run_id": (6, started_from, [({"checkpoint_run_id": "a run"}, True), ({}, False)]),
    "distributed": (7, number_of_processes, [({"distributed": True}, 4), ({"distributed": False}, 1)]),
    "early_stopping": (
        8,
        epochs_until_it_stops,
        [(IMPATIENT, 3), ({**IMPATIENT, "early_stopping": False}, 12)],
    ),
    "early_stopping_delay": (
        9,
        epochs_until_it_stops,
        [({"early_stopping_patience": 2, "early_stopping_delay": delay}, delay + 2) for delay in (1, 3, 6)],
    ),
    "early_stopping_patience": (
        10,
        epochs_until_it_stops,
        [({"early_stopping_delay": 1, "early_stopping_patience": waits}, 1 + waits) for waits in (1, 4)],
    ),
    "evaluation_frequency": (
        12,
        lambda train, chosen: [
            line["epoch"]
            for line in train(number_of_epochs=5, early_stopping=False, **chosen).lines
            if "score" in line
        ],
        [({}, [1, 2, 3, 4, 5]), ({"evaluation_frequency": 3}, [3, 5]), ({"evaluation_frequency": 9}, [5])],
    ),
    "gradient_accumulation_step": (
        13,
        mean_gradient,  # 11 pictures in batches of 4, 4 and 3
        [
            ({}, (3, True)),
            ({"gradient_accumulation_step": 2}, (2, True)),
            ({"gradient_accumulation_step": 8}, (1, True)),
        ],
    ),
    "layers_to_freeze": (
        14,
        frozen,
        [
            ({}, []),
            # with pre-trained weights bn1 has no parameters, so it is frozen in any case
            (PRETRAINED, ["conv1", "bn1", "layer1"]),
            ({**PRETRAINED, "layers_to_freeze": 0}, ["bn1"]),
            ({**PRETRAINED, "layers_to_freeze": 1}, ["conv1", "bn1"]),
            ({**PRETRAINED, "layers_to_freeze": 4}, ["conv1", "bn1", "layer1", "layer2", "layer3"]),
            ({**PRETRAINED, "layers_to_freeze": 5}, ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]),
        ],
    ),
    "learning_rate": (
        15,
        lambda train, chosen: max(curve(train, chosen)),
        [({}, 0.005), ({"learning_rate": 0.02}, 0.02)],
    ),
    "learning_rate_scheduler": (
        16,
        curve,
        [
            (COSINE, RISE_AND_FALL),
            ({**STEP, "step_lr_step_size": 2}, [0.8] * 6 + [0.4] * 6 + [0.2] * 3),
        ],
    ),
    "model_name": (
        17,
        widths,
        [
            ({"model_name": "maskrcnn_resnet18_fpn_light"}, (64, 512)),
            ({"model_name": "maskrcnn_resnet18_fpn"}, (256, 512)),
        ],
    ),
    "momentum": (18, group("momentum"), [({}, 0.9), ({"momentum": 0.4}, 0.4)]),
    "nesterov": (19, group("nesterov"), [({}, True), ({"nesterov": False}, False)]),
    "number_of_epochs": (
        20,
        lambda train, chosen: [line["epoch"] for line in train(**chosen).lines],
        [({"number_of_epochs": 1}, [1]), ({"number_of_epochs": 3}, [1, 2, 3])],
    ),
    "number_of_workers": (
        21,
        lambda train, chosen: train(number_of_epochs=1, **{k: v for k, v in chosen.items()}).loaders[0],
        [({"number_of_workers": 0}, 0), ({"number_of_workers": 2}, 2)],
    ),
    "optimizer": (
        22,
        lambda train, chosen: type(train(**chosen).optimizer),
        [({}, torch.optim.SGD), (ADAM, torch.optim.Adam), ({"optimizer": "adamw"}, torch.optim.AdamW)],
    ),
    "random_seed": (
        23,
        lambda train, chosen: (
            [batch["ids"] for batch in train(seed=seed_of("a run", chosen["random_seed"])).model.seen]
            == [batch["ids"] for batch in train(seed=7).model.seen]
        ),
        [({"random_seed": 7}, True), ({"random_seed": 8}, False)],
    ),
    "step_lr_gamma": (
        24,
        lambda train, chosen: train(**STEP, early_stopping=False, step_lr_step_size=1, **chosen).rates(),
        [({}, [0.8, 0.4, 0.2, 0.1, 0.05]), ({"step_lr_gamma": 0.1}, [0.8, 0.08, 0.008, 0.0008, 0.0001])],
    ),
    "step_lr_step_size": (
        25,
        lambda train, chosen: train(**STEP, early_stopping=False, **chosen).rates(),
        [({}, [0.8] * 5), ({"step_lr_step_size": 3}, [0.8, 0.8, 0.8, 0.4, 0.4])],
    ),
    "training_batch_size": (
        26,
        lambda train, chosen: pictures_seen(train, {**chosen, "number_of_epochs": 1}),
        [({}, [4, 4, 4]), ({"training_batch_size": 5}, [5, 5, 2]), ({"training_batch_size": 99}, [12])],
    ),
    "validation_batch_size": (
        27,
        evaluated_together,
        [({}, [1, 1, 1]), ({"validation_batch_size": 2}, [2, 1])],
    ),
    "warmup_cosine_lr_cycles": (
        28,
        lambda train, chosen: train(**COSINE, **chosen).rates(2),
        [({}, [1.0, 0.88, 0.41, 0.03]), ({"warmup_cosine_lr_cycles": 1.0}, [1.0, 0.59, 0.03, 0.88])],
    ),
    "warmup_cosine_lr_warmup_epochs": (
        29,
        lambda train, chosen: curve(train, {**COSINE, **chosen})[:6],
        [
            ({"warmup_cosine_lr_warmup_epochs": 1}, RISE_AND_FALL[:6]),
            ({"warmup_cosine_lr_warmup_epochs": 2}, [0.1667, 0.3333, 0.5, 0.6667, 0.8333, 1.0]),
            ({"warmup_cosine_lr_warmup_epochs": 0}, [1.0, 0.983, 0.933, 0.8536, 0.75, 0.6294]),
        ],
    ),
    "weight_decay": (
        30,
        decays,
        [({}, [(1e-4, 2), (0.0, 1)]), ({"weight_decay": 0.3}, [(0.3, 2), (0.0, 1)])],
    ),
    "box_detections_per_image": (
        31,
        detected,
        [
            ({"nms_iou_threshold": 1}, [0.9, 0.6, 0.4]),
            ({"nms_iou_threshold": 1, "box_detections_per_image": 2}, [0.9, 0.6]),
        ],
    ),
    "box_score_threshold": (
        32,
        detected,
        [
            ({"nms_iou_threshold": 1}, [0.9, 0.6, 0.4]),
            ({"nms_iou_threshold": 1, "box_score_threshold": 0.5}, [0.9, 0.6]),
        ],
    ),
    "max_size": (34, sizes, [({}, (25, 64)), ({"max_size": 50}, (20, 50))]),
    "min_size": (35, sizes, [({}, (25, 64)), ({"min_size": 20}, (20, 50))]),
    "nms_iou_threshold": (
        38,
        detected,
        [({"nms_iou_threshold": 0.6}, [0.9, 0.6, 0.4]), ({"nms_iou_threshold": 0.4}, [0.9, 0.4])],
    ),
    "tile_grid_size": (
        39,
        views_seen,
        [
            ({}, [WHOLE]),
            ({"tile_grid_size": "2x1"}, [WHOLE, (37, 64), (37, 64)]),
            ({"tile_grid_size": "1x2"}, [WHOLE, (64, 37), (64, 37)]),
        ],
    ),
    "tile_overlap_ratio": (
        40,
        views_seen,
        [
            ({"tile_grid_size": "2x1"}, [WHOLE, (37, 64), (37, 64)]),
            ({"tile_grid_size": "2x1", "tile_overlap_ratio": 0}, [WHOLE, (32, 64), (32, 64)]),
        ],
    ),
    "tile_predictions_nms_threshold": (
        41,
        merged_at,
        [
            ({"tile_grid_size": "2x1"}, 1),
            ({"tile_grid_size": "2x1", "tile_predictions_nms_threshold": 0.6}, 2),
        ],
    ),
    "validation_iou_threshold": (
        42,
        judged,
        [
            ({"validation_metric_type": "voc"}, {"score": 1.0, "voc_mAP": 1.0}),
            (
                {"validation_metric_type": "voc", "validation_iou_threshold": 0.7},
                {"score": 0.0, "voc_mAP": 0.0},
            ),
        ],
    ),
    "validation_metric_type": (
        43,
        judged,
        [
            ({}, {"score": 1.0, "mask_AP": 0.3}),  # found at 0.50, 0.55 and 0.60
            ({"advanced_settings": {"primary_iou": "0.50:0.95"}}, {"score": 0.3, "mask_AP": 0.3}),
            ({"validation_metric_type": "voc"}, {"score": 1.0, "voc_mAP": 1.0}),
            ({"validation_metric_type": "coco_voc"}, {"score": 1.0, "mask_AP": 0.3, "voc_mAP": 1.0}),
            ({"validation_metric_type": "none"}, {"score": 1.0, "mask_AP": 0.3}),  # of the last epoch alone
        ],
    ),
    "log_training_metrics": (
        44,
        names_of_metrics("mask_AP", "mask_AP_train"),
        [({}, [True, False]), ({"log_training_metrics": "enable"}, [True, True])],
    ),
    "log_validation_loss": (
        45,
        names_of_metrics("train_loss", "validation_loss"),
        [({}, [True, False]), ({"log_validation_loss": "enable"}, [True, True])],
    ),
}


def test_no_parameter_is_forgotten() -> None:
    elsewhere = {"enable_onnx_normalization"}  # row 11, in tests/unit/onnx_export
    elsewhere |= {"image_size", "model_size", "multi_scale"}  # 33, 36, 37: tests/unit/models/test_rfdetr.py
    assert set(ROWS) | elsewhere == set(TrainingSettings.model_fields)
    assert sorted(number for number, _, _ in ROWS.values()) == sorted({*range(1, 46)} - {11, 33, 36, 37})


@pytest.mark.parametrize("name", ROWS)
def test_the_effect(name: str, trained: Train, tiny_prepared: Path, tmp_path: Path) -> None:
    _, probe, effects = ROWS[name]
    more = {
        mean_gradient: [tiny_prepared],
        evaluated_together: [tiny_prepared],
        views_seen: [tiny_prepared],
        started_from: [tmp_path / "run"],
    }
    seen = []
    for chosen, expected in effects:
        assert obstacles(complete({**LIGHT, **chosen})) == []
        found = probe(trained, chosen, *more.get(probe, []))
        assert found == (pytest.approx(expected) if isinstance(expected, float) else expected), chosen
        seen.append(found)
    assert any(found != seen[0] for found in seen[1:]), "the values make no difference"


def test_without_metrics_the_last_epoch_is_measured_and_is_the_model(trained: Train) -> None:
    run = trained(number_of_epochs=3, validation_metric_type="none")
    assert [line["epoch"] for line in run.lines if "score" in line] == [3]
    assert run.best == [3]


def test_the_backbone_is_compiled_only_if_asked_for(trained: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    monkeypatch.setattr(room, "compile_backbone", lambda model, *_: compiled.append(model))
    trained(number_of_epochs=1)
    assert compiled == []
    run = trained(number_of_epochs=1, advanced_settings={"torch_compile": True})
    assert compiled == [run.model]


@pytest.mark.parametrize(("advanced", "moves"), [({}, 0.1 * 5), ({"grad_clip_type": "none"}, 0.1 * 70)])
def test_gradients_are_clipped_before_the_step(
    advanced: dict, moves: float, trained: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def steep(model: Two, pictures: list[torch.Tensor], targets: list[dict]) -> dict[str, torch.Tensor]:
        model.seen.append({"ids": [], "means": torch.zeros(1), "learns": True})
        return {"loss_mask": 70 * model.weight.sum() + 0 * model.bias.sum()}

    monkeypatch.setattr(Two, "forward", steep)
    plain = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0, "warmup_cosine_lr_warmup_epochs": 0}
    run = trained(
        number_of_epochs=1, training_batch_size=12, learning_rate=0.1, advanced_settings=advanced, **plain
    )
    assert run.model.weight.item() == pytest.approx(1 - moves, rel=1e-5)


def test_the_average_is_what_is_judged_and_kept(trained: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[float] = []
    evaluate = room.evaluate
    monkeypatch.setattr(
        room, "evaluate", lambda model, *rest: (judged.append(model.weight.item()), evaluate(model, *rest))[1]
    )
    run = trained(number_of_epochs=1, advanced_settings={"ema_decay": 0.5})
    assert judged[0] != run.model.weight.item()
    assert run.model.weight.item() < judged[0] < 1  # between the start and the end


def test_the_validation_loss_is_the_same_for_the_same_model(trained: Train) -> None:
    still = {"learning_rate": 1e-12, "number_of_epochs": 3, "log_validation_loss": "enable"}
    run = trained(**still)
    losses = [line["validation_loss"] for line in run.lines]
    assert losses[0] == losses[1] == losses[2] > 0
    assert run.batches(learns=False) == [1] * 9


def test_the_loss_of_an_epoch_is_the_mean_over_its_pictures_and_its_parts_add_up(trained: Train) -> None:
    run = trained(training_batch_size=5, learning_rate=1e-12, number_of_epochs=1)
    mean = torch.cat([batch["means"] for batch in run.model.seen]).mean().item()
    (line,) = run.lines
    assert line["train_loss"] == pytest.approx(mean, rel=1e-5)
    assert line["loss_classifier"] + line["loss_mask"] == pytest.approx(line["train_loss"])
