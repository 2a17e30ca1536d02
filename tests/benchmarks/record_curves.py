"""Record the learning curves that `early_termination` replays: about an hour on one processor each.

    python -m tests.benchmarks.record_curves ../shared/data/fruits_nuts OUT
    python -m tests.benchmarks.record_curves drawn OUT

Real trainings of the light model from scratch, 15 epochs at 80 pixels: on the 18 pictures of fruits_nuts,
which are made a quarter of their size first, and on 32 of drawn shapes, like those of `maskline sample-data`.
Settings are drawn at random, those of training n by seed n, counted from 0 and from 1000.
"""

import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from maskline.artifacts import TrialDirectory
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.sweep_trial.spec import TrialSpec
from maskline.components.sweep_trial.train import train
from maskline.errors import StageError
from maskline.sample_data import write_sample_data

TRAININGS = 40
DRAWN = "drawn"
FIRST = {DRAWN: 1000}
EPOCHS = 15
SIDE = 80
SHRINK = 0.25
VARIED = (
    "learning_rate",
    "optimizer",
    "training_batch_size",
    "momentum",
    "weight_decay",
    "warmup_cosine_lr_warmup_epochs",
)


def settings(number: int) -> dict[str, Any]:
    """What training `number` tries."""
    chance = random.Random(number)
    found = {
        "model_name": "maskrcnn_resnet18_fpn_light",
        "min_size": SIDE,
        "max_size": 2 * SIDE,
        "number_of_epochs": EPOCHS,
        "number_of_workers": 0,
        "early_stopping": False,
        "learning_rate": math.exp(chance.uniform(math.log(5e-5), math.log(5e-3))),
        "optimizer": chance.choice(["adamw", "adamw", "adam", "sgd"]),
        "training_batch_size": chance.choice([2, 2, 4]),
        "warmup_cosine_lr_warmup_epochs": chance.choice([1, 2, 3]),
        "momentum": chance.choice([0.85, 0.9, 0.95]),
        "weight_decay": math.exp(chance.uniform(-10, -6)),
    }
    if found["optimizer"] == "sgd":
        found["learning_rate"] *= 10
    return found


def main(source: str, out: Path) -> None:
    """Prepare, train, and write OUT/learning_curves.json anew after each training."""
    torch.set_num_threads(1)
    if source == DRAWN:
        write_sample_data(out / "data", pictures=40, size=SIDE)
        parts = (Source(str(out / "data" / part), "mltable") for part in ("train", "validation"))
        prepare(*parts, out=out / "prepared")
    else:
        prepare(Source(str(_shrunk(Path(source), out)), "coco"), out=out / "prepared", validation_size=0.3)
    trainings: list[dict[str, Any]] = []
    first = FIRST.get(source, 0)
    for number in range(first, first + TRAININGS):
        chosen, folder = settings(number), out / str(number)
        spec = TrialSpec(chosen, str(out / "prepared"), str(folder), seed=number, deadline=time.time() + 1e6)
        spec.write()
        try:
            train(spec)
        except StageError as error:  # diverged: what it reached until then counts
            print(error)
        lines = TrialDirectory(folder).metrics.read_text(encoding="utf-8").splitlines()
        scores = [round(json.loads(line)["score"], 4) for line in lines]
        trainings.append({"settings": {name: chosen[name] for name in VARIED}, "scores": scores})
        text = json.dumps({"how": __doc__, "trainings": trainings})
        (out / "learning_curves.json").write_text(text + "\n", encoding="utf-8")


def _shrunk(source: Path, out: Path) -> Path:
    """The data set with pictures and outlines of a quarter of their size."""
    (out / "images").mkdir(parents=True)
    coco = json.loads((source / "trainval.json").read_text(encoding="utf-8"))
    for image in coco["images"]:
        picture = Image.open(source / "images" / image["file_name"]).convert("RGB")
        image["width"], image["height"] = (int(side * SHRINK) for side in picture.size)
        image["file_name"] = f"{Path(image['file_name']).stem}.png"
        picture.resize((image["width"], image["height"]), Image.Resampling.LANCZOS).save(
            out / "images" / image["file_name"]
        )
    for shape in coco["annotations"]:
        shape["segmentation"] = [[value * SHRINK for value in ring] for ring in shape["segmentation"]]
        shape["bbox"] = [value * SHRINK for value in shape["bbox"]]
        shape["area"] *= SHRINK**2
    (out / "trainval.json").write_text(json.dumps(coco), encoding="utf-8")
    return out / "trainval.json"


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
