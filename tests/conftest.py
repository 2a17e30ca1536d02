"""What several tests need: the shared data, and one set of them in Azure's form."""

import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

from maskline.annotations import mask_to_rings
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.sample_data import write_sample_data

SHARED_DATA = Path(__file__).resolve().parents[1] / "../shared/data"
MLTABLE = """type: mltable
paths:
  - file: ./annotations.jsonl
transformations:
  - read_json_lines: {encoding: utf8, invalid_lines: error, include_path_column: false}
  - convert_column_types:
      - {columns: image_url, column_type: stream_info}
"""

# Drawn examples are the same in each run; `pytest --hypothesis-profile=default` draws others.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Files that are made from the code can be made anew."""
    parser.addoption(
        "--write-golden", action="store_true", help="renew the compiled pipelines in tests/golden"
    )
    parser.addoption("--write-readme", action="store_true", help="renew the table of parameters in README")


@pytest.fixture(scope="session")
def look():
    """`browser.look`: a page in headless Chromium; skips where there is none."""
    pytest.importorskip("websocket")
    from browser import look

    return look


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real pictures, beside the checkout."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"{SHARED_DATA} is not there")
    return SHARED_DATA.resolve()


@pytest.fixture(scope="session")
def odd(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of odd pictures and annotations."""
    target = tmp_path_factory.mktemp("odd_data")
    with tarfile.open(shared_data / "odd.tar.gz") as archive:
        archive.extractall(target, filter="data")
    return target / "odd"


@pytest.fixture(scope="session")
def dsb2018_jsonl(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The nuclei of dsb2018_dev as an MLTable folder; outlines run along pixel edges, so masks are exact."""
    target = tmp_path_factory.mktemp("dsb2018_jsonl")
    write_nuclei(shared_data / "dsb2018_dev", target)
    return target


def write_nuclei(source: Path, target: Path) -> None:
    """Convert one-mask-an-object folders to Azure's MLTable and JSON Lines."""
    (target / "images").mkdir()
    (target / "MLTable").write_text(MLTABLE, encoding="utf-8")
    lines = []
    for folder in sorted(p for p in source.iterdir() if p.is_dir()):
        picture = folder / "images" / f"{folder.name}.png"
        shutil.copy(picture, target / "images")
        with Image.open(picture) as image:
            width, height = image.size
        labels = []
        for file in sorted((folder / "masks").iterdir()):
            rings = mask_to_rings(np.asarray(Image.open(file)) > 0)
            polygon = [(ring / [width, height]).ravel().tolist() for ring in rings]
            labels.append({"label": "nucleus", "isCrowd": 0, "polygon": polygon})
        details = {"format": "png", "width": f"{width}px", "height": f"{height}px"}
        record = {"image_url": f"images/{picture.name}", "image_details": details, "label": labels}
        lines.append(json.dumps(record))
    (target / "annotations.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def tiny_prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of a few small drawn pictures."""
    folder = tmp_path_factory.mktemp("tiny")
    write_sample_data(folder / "data", pictures=15, size=64)
    train, validation = (Source(str(folder / "data" / name), "mltable") for name in ("train", "validation"))
    prepare(train, validation, out=folder / "prepared")
    return folder / "prepared"


SERVED = {
    "model_name": "maskrcnn_resnet18_fpn_light",
    "min_size": 96,
    "max_size": 160,
    "box_score_threshold": 0.1,
    "box_detections_per_image": 20,
}
"""Settings of the model that export, prediction and serving are tested with."""


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tiny_prepared: Path) -> Path:
    """A model as trial_selection leaves it, trained until rounding no longer decides what it finds first."""
    import torch

    from maskline import checkpoint
    from maskline.checkpoint import Checkpoint
    from maskline.dataset import PreparedDataset
    from maskline.loading import collate
    from maskline.models import build_model
    from maskline.settings import complete
    from maskline.training_data import TrainingDataset

    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(4)
    torch.set_num_threads(1)
    model = build_model(complete(SERVED), 4).train()
    data = TrainingDataset(PreparedDataset.read(tiny_prepared).coco("train"), complete(SERVED))
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    for step in range(100):
        pictures, targets = collate([data[(3 * step + i) % len(data)] for i in range(3)])
        optimizer.zero_grad()
        sum(model(pictures, targets).values()).backward()
        optimizer.step()
    classes = ("disc", "ring", "square", "triangle")
    said = Checkpoint(SERVED, classes, epoch=2, score=0.5, digest="d1")
    checkpoint.save(folder / "checkpoint.safetensors", model, said)
    (folder / "labels.json").write_text(json.dumps(classes))
    return folder


@pytest.fixture(scope="session")
def onnx_file(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That model as an ONNX file."""
    return _exported(model_folder, tmp_path_factory.mktemp("graph") / "model.onnx")


@pytest.fixture(scope="session")
def tiled_file(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as if it had been trained with a grid of 2x1 tiles that overlap by a tenth."""
    path = tmp_path_factory.mktemp("tiled") / "model.onnx"
    return _exported(model_folder, path, tile_grid_size="(2, 1)", tile_overlap_ratio=0.1)


def _exported(model_folder: Path, path: Path, **more: object) -> Path:
    import onnx

    from maskline import checkpoint
    from maskline.components.onnx_export.export import export, finished

    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    described = replace(described, settings={**described.settings, **more})
    onnx.save(finished(export(detector, described), described), path)
    return path


@pytest.fixture(scope="session")
def drawn_pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Drawn pictures of several sizes, on which that model finds something."""
    folder = tmp_path_factory.mktemp("pictures")
    write_sample_data(folder / "data", pictures=10, size=128)
    drawn = sorted((folder / "data/train/images").iterdir())
    found = []
    for file, (width, height) in zip(drawn, ((96, 96), (200, 120), (61, 170), (320, 240)), strict=False):
        path = folder / f"{width}x{height}.png"
        Image.open(file).resize((width, height)).save(path)
        found.append(path)
    return found


@pytest.fixture(scope="session")
def results_folder(model_folder: Path, tiny_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What evaluation leaves of that model."""
    from maskline import checkpoint
    from maskline.components.evaluation.evaluate import evaluate, write_numbers, write_predictions
    from maskline.dataset import PreparedDataset
    from maskline.prediction import predict_pictures

    data = PreparedDataset.read(tiny_prepared)
    split = data.evaluation_split
    detector, described = checkpoint.restore(model_folder / "checkpoint.safetensors")
    settings = described.training_settings.model_copy(update={"number_of_workers": 0})
    folder = tmp_path_factory.mktemp("results")
    pictures = predict_pictures(detector, data.coco(split), settings)
    write_predictions(folder, pictures, settings.advanced.metric_score_threshold)
    write_numbers(folder, evaluate(folder, data, split, settings).numbers)
    return folder
