"""Export, prove, hand over."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import onnx

from maskline import checkpoint, storage
from maskline.artifacts import BEST_MODEL, CHECKPOINT, METRICS, MODEL, PARITY
from maskline.checkpoint import Checkpoint
from maskline.dataset import PreparedDataset
from maskline.models import family_of

from .export import export, finished
from .package import write_package
from .parity import Graph, PictureParity, as_json, measure, require
from .variants import Form, Variant, converted, judge, save

PICTURES = 8
"""Pictures that the two answers are compared on, of as many sizes as there are."""


def deliver(prepared: Path, model: Path, results: Path, out: Path, *, run: Path | str | None = None) -> None:
    """Write the folder of a model: the ONNX file, the proof that it agrees with the model, and all else.

    Args:
        prepared: the prepared data set, whose evaluation split gives the pictures.
        model: folder of the best trial's model.
        results: folder of evaluation, for its numbers.
        out: folder to write, see maskline.artifacts.
        run: directory or URI of the run, which gets a copy, from where a server may mount it.

    Raises:
        ParityError: graph and model differ on a picture; the table is written all the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    detector, described = checkpoint.restore(model / CHECKPOINT)
    settings, data = described.training_settings, PreparedDataset.read(prepared)
    precision = settings.advanced.onnx_precision
    limit = settings.advanced.onnx_proposals
    compared = []
    if limit is not None:
        compared.append(Form(export(detector, described), "fp32"))
        family_of(settings.model_name).limit_proposals(detector, limit)
    opened = export(detector, described)
    files = _pictures(data)
    threshold = settings.box_score_threshold
    exact = finished(opened, described)
    measured = measure(detector, Graph(exact.SerializeToString()), files, threshold)
    if not any(one.detections for one in measured):
        # Two empty answers prove nothing; the same graph with a lower threshold does.
        threshold = settings.advanced.metric_score_threshold
        measured = measure(detector, Graph(_open(opened, described)), files, threshold)
    table = {"score_threshold": threshold, **as_json(measured)}
    (out / PARITY).write_text(json.dumps(table, indent=2), encoding="utf-8")
    require(measured)
    compared.append(Form(opened, "fp32", limit))
    if precision != "fp32":
        compared.append(Form(converted(opened, precision, data), precision, limit))
    size = save(compared[-1], described, out / MODEL)
    if len(compared) == 1:
        variants = [Variant(compared[0], size / 1e6, _seconds(measured), None, None, 0, True)]
    else:
        variants = [judge(one, described, data, one is compared[-1]) for one in compared]
    numbers = json.loads((results / METRICS).read_text(encoding="utf-8"))
    write_package(out, model, described, data, numbers, measured, variants)
    if run is not None:
        storage.put_folder(out, storage.join(str(run), BEST_MODEL))


def _open(model: onnx.ModelProto, described: Checkpoint) -> bytes:
    """The graph with thresholds as inputs, whatever the settings say."""
    advanced = json.loads(described.settings.get("advanced_settings") or "{}")
    told = {**described.settings, "advanced_settings": json.dumps({**advanced, "onnx_thresholds": "inputs"})}
    found: bytes = finished(model, replace(described, settings=told)).SerializeToString()
    return found


def _seconds(measured: Sequence[PictureParity]) -> float:
    return median([one.seconds for one in measured] or [0.0])


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
