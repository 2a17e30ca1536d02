"""The folder in which a model leaves the pipeline: whatever reads it, it is all there."""

import json
import shutil
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any

import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from maskline.artifacts import CARD, CHECKPOINT, LABELS, METRICS, MLMODEL, MODEL, PARITY, SETTINGS
from maskline.checkpoint import Checkpoint
from maskline.dataset import PreparedDataset
from maskline.models import family_of
from maskline.settings import TrainingSettings, weights_wanted

from .export import graph_kind
from .parity import PictureParity
from .variants import Variant

FROM_SCRATCH = "Training started from scratch: the weights come from your data alone."


def write_package(
    out: Path,
    model: Path,
    checkpoint: Checkpoint,
    data: PreparedDataset,
    metrics: Mapping[str, Any],
    measured: Sequence[PictureParity],
    variants: Sequence[Variant],
) -> None:
    """Complete the folder that holds the ONNX file and its proof.

    Written are the weights (safetensors), labels.json, settings.json, metrics.json, README.md, which is the
    model card, and MLflow's layout. Nothing in it is a pickle.

    Args:
        out: the folder, with model.onnx and parity.json.
        model: folder of the best trial's model.
        checkpoint: what its weights say of themselves.
        data: the prepared data set.
        metrics: of evaluation.
        measured: agreement of graph and model.
        variants: rows of size, latency and AP, the first of fp32.
    """
    settings = checkpoint.training_settings
    shutil.copyfile(model / CHECKPOINT, out / CHECKPOINT)
    _json(out / LABELS, list(checkpoint.classes))
    _json(out / SETTINGS, {"inference": _inference(settings), "training": checkpoint.settings})
    _json(out / METRICS, metrics)
    (out / CARD).write_text(_card(checkpoint, data, metrics, measured, variants), encoding="utf-8")
    _write_mlflow(out, checkpoint)


def _inference(settings: TrainingSettings) -> dict[str, Any]:
    """What predictions depend on, under the names of Azure's settings.json."""
    return {
        "model_name": settings.model_name,
        **family_of(settings.model_name).inference(settings),
        "box_score_thresh": settings.box_score_threshold,
        "box_detections_per_img": settings.box_detections_per_image,
        "mask_pixel_score_threshold": settings.advanced.mask_pixel_score_threshold,
    }


def _write_mlflow(out: Path, checkpoint: Checkpoint) -> None:
    if graph_kind(checkpoint) == "network":
        return  # it takes no pictures, so that there is nothing to serve
    settings, python = checkpoint.training_settings, python_version()
    needs = [f"maskline[mlflow]=={version('maskline')}"]
    (out / "requirements.txt").write_text("\n".join(needs) + "\n", encoding="utf-8")
    _yaml(
        out / "python_env.yaml",
        {"python": python, "build_dependencies": ["pip"], "dependencies": ["-r requirements.txt"]},
    )
    _yaml(
        out / "conda.yaml",
        {
            "name": "mlflow-env",
            "channels": ["conda-forge"],
            "dependencies": [f"python={python}", "pip", {"pip": needs}],
        },
    )
    described: dict[str, Any] = {
        "flavors": {
            "python_function": {
                "loader_module": "maskline.mlflow_model",
                "data": MODEL,
                "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
                "python_version": python,
            },
        },
        "metadata": {
            "base_model_name": settings.model_name,
            "task": "image-instance-segmentation",
            "is_automl_model": True,
            "data_digest": checkpoint.digest,
        },
        "model_uuid": uuid.uuid4().hex,
        "signature": {
            "inputs": json.dumps([{"type": "binary", "name": "image", "required": True}]),
            "outputs": None,
            "params": json.dumps(_parameters(settings))
            if settings.advanced.onnx_thresholds == "inputs"
            else None,
        },
        "utc_time_created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S.%f"),
    }
    _yaml(out / MLMODEL, described)


def _parameters(settings: TrainingSettings) -> list[dict[str, Any]]:
    """What a request may set, in MLflow's form."""
    limits = [
        ("score_threshold", settings.box_score_threshold, "double"),
        ("max_detections", settings.box_detections_per_image, "long"),
        ("mask_threshold", settings.advanced.mask_pixel_score_threshold, "double"),
    ]
    return [{"name": name, "default": value, "shape": None, "type": kind} for name, value, kind in limits]


def _card(
    checkpoint: Checkpoint,
    data: PreparedDataset,
    metrics: Mapping[str, Any],
    measured: Sequence[PictureParity],
    variants: Sequence[Variant],
) -> str:
    settings = checkpoint.training_settings
    wanted = weights_wanted(settings)
    known = {**family_of(settings.model_name).terms, "none": FROM_SCRATCH}
    terms = known.get(wanted, f"Training started from `{wanted}`: see there.")
    if settings.checkpoint_run_id is not None:
        terms = (
            f"Training went on from the model of `{settings.checkpoint_run_id}`, whose terms hold here too."
        )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  Markdown; names are escaped by the filter
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    environment.filters["number"] = lambda value: "–" if value is None or value < 0 else f"{value:.3f}"
    return environment.get_template("card.md.j2").render(
        checkpoint=checkpoint,
        settings=settings,
        data=data,
        metrics=metrics,
        measured=measured,
        variants=variants,
        kind=graph_kind(checkpoint),
        limits=family_of(settings.model_name).limits(settings),
        terms=terms,
        maskline=version("maskline"),
        made=f"{datetime.now(UTC):%Y-%m-%d}",
        parity=PARITY,
    )


def _json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _yaml(path: Path, data: Any) -> None:
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
