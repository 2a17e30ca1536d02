"""Export, prove, hand over."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

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
    threshold = settings.box_score_threshold
    deployed = picture_model(detector, settings, threshold)
    export(deployed, described, out / MODEL)
    files = _pictures(PreparedDataset.read(prepared))
    measured = measure(deployed, Graph(out / MODEL), files, threshold)
    if not any(one.detections for one in measured):
        # Two empty answers prove nothing; the same model with a lower threshold does.
        threshold = settings.advanced.metric_score_threshold
        with TemporaryDirectory() as folder:
            twin = Path(folder) / MODEL
            lowered = picture_model(detector, settings, threshold)
            export(lowered, described, twin)
            measured = measure(lowered, Graph(twin), files, threshold)
    table = {"score_threshold": threshold, **as_json(measured)}
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
