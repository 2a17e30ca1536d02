"""Small data sets of plain pictures."""

import json

import pytest
from PIL import Image

from maskline.components.data_preparation.prepare import Source

BOX = [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5]


def _paint(path, shade=90, size=(40, 30), exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (shade, shade, 10))
    image.save(path, **({"exif": exif} if exif else {}))


def _write_lines(folder, records):
    """Pictures with objects of the classes named: {"a.png": ["can", "box"], ...}."""
    lines = []
    for number, (name, labels) in enumerate(records.items()):
        if name.endswith((".png", ".jpg")) and "missing" not in name:
            _paint(folder / name, 10 + number)
        objects = [
            {"label": label, "polygon": [[v + 0.02 * i for v in BOX]]} if isinstance(label, str) else label
            for i, label in enumerate(labels)
        ]
        lines.append(json.dumps({"image_url": name, "label": objects}))
    folder.mkdir(exist_ok=True)
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    return Source(str(folder))


@pytest.fixture(scope="session")
def paint():
    return _paint


@pytest.fixture(scope="session")
def write_lines():
    return _write_lines


@pytest.fixture(scope="session")
def findings():
    """The lines of `findings.jsonl` in a folder."""
    return lambda out: [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]
