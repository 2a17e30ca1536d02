"""A page that shows training pictures as a training would see them: augmented, with their objects."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as rle
from torch import Tensor

from .dataset import PreparedDataset
from .loading import Sample
from .models import family_of
from .overlay import class_colours, css, jpeg_uri, overlay_masks
from .page import Table, render_page
from .settings import TrainingSettings
from .training_data import TrainingDataset

SHOWN_SETTINGS = ("apply_automl_train_augmentations", "horizontal_flip", "large_scale_jitter", "copy_paste")
"""Advanced settings that decide what is drawn."""
WIDEST = 320
SECTIONS = {"pictures": "Pictures", "settings": "Settings"}


def write_sheet(
    data: PreparedDataset, settings: TrainingSettings, page: Path, *, pictures: int, draws: int, seed: int
) -> None:
    """Write the page: a row a picture, as prepared and as so many epochs show it.

    Args:
        data: a prepared data set; its training split is shown.
        settings: the model's sizes, and the advanced settings in SHOWN_SETTINGS.
        page: file to write, one HTML file that needs nothing else.
        pictures: how many of the training pictures, drawn at random; those with objects come first.
        draws: how many epochs.
        seed: of the choice of pictures, and of the training whose epochs these are.
    """
    coco = data.coco("train")
    augment = settings.advanced.apply_automl_train_augmentations
    plain = TrainingDataset(coco, settings)
    changed = TrainingDataset(coco, settings, augment=augment, seed=seed)
    names = dict(enumerate(data.classes, start=1))
    colours = class_colours(len(names))
    rows = []
    for index in _chosen(coco, pictures, seed):
        views = [("as prepared", plain[index])]
        for epoch in range(1, draws + 1):
            changed.set_epoch(epoch)
            views.append((f"epoch {epoch}", changed[index]))
        rows.append(
            {
                "name": Path(plain.images[index]["file_name"]).name,
                "views": [
                    {"uri": jpeg_uri(_drawn(sample, colours, names)), "caption": _caption(said, sample)}
                    for said, sample in views
                ],
            }
        )
    text = render_page(
        Path(__file__).with_name("augmentation_sheet.html.j2"),
        title="Augmentations",
        subtitle=f"{len(rows)} of {len(plain)} training pictures, as a training with seed {seed} sees them",
        sections=SECTIONS,
        rows=rows,
        augment=augment,
        legend_entries=[(name, css(colours[number])) for number, name in names.items()],
        settings=_settings(settings),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")


def _chosen(coco: dict[str, Any], count: int, seed: int) -> list[int]:
    """Places of pictures, in a random order that has those with objects first."""
    filled = {annotation["image_id"] for annotation in coco["annotations"]}
    order = np.random.default_rng(seed).permutation(len(coco["images"])).tolist()
    return sorted(order, key=lambda place: coco["images"][place]["id"] not in filled)[:count]


def _drawn(sample: Sample, colours: dict[int, Any], names: dict[int, str]) -> Image.Image:
    picture, target = sample
    image = Image.fromarray(picture.permute(1, 2, 0).numpy())
    objects = [
        {"segmentation": mask, "category_id": int(label)}
        for mask, label in zip(_encoded(target["masks"]), target["labels"], strict=True)
    ]
    ignored = [{"segmentation": mask, "category_id": 0, "iscrowd": 1} for mask in _encoded(target["crowds"])]
    return overlay_masks(image, [*objects, *ignored], colours, names, WIDEST, (WIDEST, WIDEST))


def _encoded(masks: Tensor) -> list[dict[str, Any]]:
    """Masks (n, H, W) as compressed RLE."""
    found = [rle.encode(np.asfortranarray(mask)) for mask in masks.numpy()]
    return [{**one, "counts": one["counts"].decode("ascii")} for one in found]


def _caption(said: str, sample: Sample) -> str:
    picture, target = sample
    count = len(target["labels"])
    ignored = ", grey: ignored in the loss" if len(target["crowds"]) else ""
    size = f"{picture.shape[2]}×{picture.shape[1]}"
    return f"{said}: {size}, {count} object{'' if count == 1 else 's'}{ignored}"


def _settings(settings: TrainingSettings) -> Table:
    advanced = settings.advanced
    sizes = family_of(settings.model_name).inference(settings).items()
    rows = [("model_name", settings.model_name)]
    rows += [(name, str(value)) for name, value in sizes if name in TrainingSettings.model_fields]
    rows += [(f"advanced_settings.{name}", str(getattr(advanced, name))) for name in SHOWN_SETTINGS]
    return Table((("parameter", "name"), ("value", "")), rows)
