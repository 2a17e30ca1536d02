"""Writers of small annotations, for the tests of all readers."""

import json

import pytest

TABLE = "paths:\n  - file: ./data.jsonl\ntransformations:\n  - read_json_lines:\n      encoding: utf8\n"


def _azure_record(picture, objects, **more):
    labels = [
        {"label": label, "isCrowd": crowd, "polygon": [[v / 100 for v in ring] for ring in rings]}
        for label, crowd, rings in objects
    ]
    details = {"width": 100, "height": 100}
    return {"image_url": picture, "image_details": details, "label": labels, **more}


def _write_azure(folder, pictures, *, table=True):
    lines = [json.dumps(_azure_record(name, objects)) for name, objects in pictures]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    if table:
        (folder / "MLTable").write_text(TABLE)


def _write_coco(folder, pictures, **changes):
    names = sorted({label for _, objects in pictures for label, _, _ in objects})
    images, annotations = [], []
    for number, (picture, objects) in enumerate(pictures):
        images.append({"id": number, "file_name": picture, "width": 100, "height": 100})
        for label, crowd, rings in objects:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": number,
                    "category_id": names.index(label) * 7,
                    "segmentation": [list(r) for r in rings],
                    "iscrowd": crowd,
                }
            )
    categories = [{"id": i * 7, "name": name} for i, name in enumerate(names)]
    data = {"images": images, "annotations": annotations, "categories": categories, **changes}
    (folder / "data.json").write_text(json.dumps(data))


@pytest.fixture(scope="session")
def azure_record():
    return _azure_record


@pytest.fixture(scope="session")
def write_azure():
    return _write_azure


@pytest.fixture(scope="session")
def write_coco():
    return _write_coco
