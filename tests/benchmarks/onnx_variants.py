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
"""Every fifth is held out."""
SIDE = 128
PROPOSALS = (1000, 300, 200, 100, 50)
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
"""Points of mask AP that a faster file may lose."""


def measure() -> Iterator[Figure]:
    """Train, then the AP and the time of each graph on the pictures held out; one thread."""
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
    """A figure for each graph: the points of mask AP that it loses against 1000 regions in 32 bits."""
    data = PreparedDataset.read(root / "prepared")
    whole: Variant | None = None
    for most in PROPOSALS:
        forms = [_limited(weights, most)]
        if most in (PROPOSALS[0], 100):
            forms += [Form(converted(forms[0].model, name, data), name, most) for name in ("fp16", "int8")]
        for form in forms:
            row = judge(form, checkpoint.describe(weights), data, delivered=False)
            whole = whole or row
            yield _figure(row, whole)


def _limited(weights: Path, most: int) -> Form:
    detector, described = checkpoint.restore(weights)
    family = family_of(described.training_settings.model_name)
    family.limit_proposals(detector, most)
    return Form(export(detector, described), "fp32", most)


def _figure(row: Variant, whole: Variant) -> Figure:
    assert row.mask_AP is not None
    assert whole.mask_AP is not None
    told = (
        f"mask AP {100 * row.mask_AP:.2f} (whole {100 * whole.mask_AP:.2f}), {1e3 * row.seconds:.1f} ms "
        f"(whole {1e3 * whole.seconds:.1f} ms), {row.megabytes:.1f} MB, {row.pictures} pictures"
    )
    lost = 100 * (whole.mask_AP - row.mask_AP)
    name = f"onnx_variants.{row.form.precision}_{row.form.proposals}"
    return Figure(name, lost, ALLOWED, "lower", told, "AP")
