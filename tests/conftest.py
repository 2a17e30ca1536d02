"""What several tests need: the shared data, and one set of them in Azure's form."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
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
