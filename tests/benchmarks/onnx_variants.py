"""What each step to a faster ONNX file costs in AP: of a model that is really trained, on unseen pictures."""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from maskline import checkpoint
from maskline.artifacts import TrialDirectory
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.onnx_export.export import export
from maskline.components.onnx_export.variants import Form, Variant, converted, judge
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.train import train
from maskline.dataset import PreparedDataset
from maskline.models import family_of
from maskline.sample_data import write_sample_data

from .harness import Figure

PICTURES = 300
"""Four of five are trained on."""
JUDGED, SEED = 1000, 77
"""AP is of so many other pictures: of 60 rounding alone moves it by half a point, of 500 by a tenth."""
SIDE = 128
PROPOSALS = (250, 100)
"""Regions that are looked at; the first is the light model's own number, with which it was trained."""
SETTINGS = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "number_of_epochs": 6,
    "training_batch_size": 4,
    "validation_batch_size": 4,
    "number_of_workers": 0,
    "min_size": SIDE,
    "max_size": SIDE,
    "optimizer": "adamw",
    "learning_rate": 0.0015,
    "warmup_cosine_lr_warmup_epochs": 1,
    "advanced_settings": '{"pretrained_weights": "none"}',
}
ALLOWED = 0.2
"""Points of mask AP, or of box AP, that a faster file may lose."""


def measure() -> Iterator[Figure]:
    """Train, then the AP and the time of each graph on pictures that training had nothing of; one thread."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        yield from compared(root, trained(root))


def trained(root: Path) -> Path:
    """The checkpoint of a light model after a few epochs on drawn pictures; minutes."""
    write_sample_data(root / "data", pictures=PICTURES, size=SIDE)
    parts = (Source(str(root / "data" / name), "mltable") for name in ("train", "validation"))
    prepare(*parts, out=root / "prepared")
    train(TrialSpec(SETTINGS, str(root / "prepared"), str(root / "0"), 1, time.time() + 7200))
    return TrialDirectory(root / "0").best


def compared(root: Path, weights: Path) -> Iterator[Figure]:
    """For each graph, the points of mask and box AP that it loses against all 250 regions in 32 bits."""
    data, unseen = PreparedDataset.read(root / "prepared"), _unseen(root / "unseen")
    whole: Variant | None = None
    for most in PROPOSALS:
        exact = _limited(weights, most)
        others = (Form(converted(exact.model, name, data), name, most) for name in ("fp16", "int8"))
        for form in (exact, *others):
            row = judge(form, checkpoint.describe(weights), unseen, delivered=False, most=JUDGED)
            whole = whole or row
            yield from _figures(row, whole)


def _unseen(root: Path) -> PreparedDataset:
    """JUDGED pictures to judge on: the larger of the two parts that are drawn."""
    write_sample_data(root / "data", pictures=JUDGED * 5 // 4, size=SIDE, seed=SEED)
    parts = (Source(str(root / "data" / name), "mltable") for name in ("validation", "train"))
    prepare(*parts, out=root / "prepared")
    return PreparedDataset.read(root / "prepared")


def _limited(weights: Path, most: int) -> Form:
    detector, described = checkpoint.restore(weights)
    family = family_of(described.training_settings.model_name)
    family.limit_proposals(detector, most)
    return Form(export(detector, described), "fp32", most)


def _figures(row: Variant, whole: Variant) -> Iterator[Figure]:
    for kind, own, best in (("mask", row.mask_AP, whole.mask_AP), ("box", row.box_AP, whole.box_AP)):
        assert own is not None
        assert best is not None
        told = (
            f"{kind} AP {100 * own:.2f} (whole {100 * best:.2f}), {1e3 * row.seconds:.1f} ms "
            f"(whole {1e3 * whole.seconds:.1f} ms), {row.megabytes:.1f} MB, {row.pictures} pictures"
        )
        name = f"onnx_variants.{row.form.precision}_{row.form.proposals}.{kind}"
        yield Figure(name, 100 * (best - own), ALLOWED, "lower", told, "AP")
