"""Export, prove, hand over."""

import json
import shutil
from pathlib import Path

from maskline import checkpoint
from maskline.artifacts import CHECKPOINT, LABELS, MODEL, PARITY
from maskline.dataset import PreparedDataset

from .export import export, picture_model
from .parity import Graph, as_json, measure, require

PICTURES = 8
"""Pictures that the two answers are compared on, of as many sizes as there are."""


def deliver(prepared: Path, model: Path, out: Path) -> None:
    """Write the ONNX graph of a model, its class names and the proof that it agrees with the model.

    Args:
        prepared: the prepared data set, whose evaluation split gives the pictures.
        model: folder of the best trial's model.
        out: folder to write.

    Raises:
        ParityError: graph and model differ on a picture; the table is written all the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    detector, described = checkpoint.restore(model / CHECKPOINT)
    settings = described.training_settings
    deployed = picture_model(detector, settings, settings.box_score_threshold)
    export(deployed, described, out / MODEL)
    data = PreparedDataset.read(prepared)
    files = _pictures(data)
    measured = measure(deployed, Graph(out / MODEL), files, settings.box_score_threshold)
    table = as_json(measured)
    if not table["detections"]:
        print(
            f"parity: no detection reaches box_score_threshold={settings.box_score_threshold} on "
            f"{len(files)} pictures, so the agreement was shown for empty answers only"
        )
    (out / PARITY).write_text(json.dumps(table, indent=2), encoding="utf-8")
    shutil.copy(model / LABELS, out / LABELS)
    require(measured)


def _pictures(data: PreparedDataset) -> list[str]:
    """Pictures of different sizes first, then in order, up to PICTURES."""
    images = data.coco(data.evaluation_split)["images"]
    seen: dict[tuple[int, int], int] = {}
    ranked: list[tuple[int, int, str]] = []
    for image in images:
        size = (image["width"], image["height"])
        seen[size] = seen.get(size, 0) + 1
        ranked.append((seen[size], len(ranked), image["file_name"]))
    return [file for _, _, file in sorted(ranked)[:PICTURES]]
