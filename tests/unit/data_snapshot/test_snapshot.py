"""The digest of data changes with the data, and with nothing else."""

import ast
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskline import storage
from maskline.components.data_preparation.convert import convert
from maskline.components.data_preparation.prepare_job import prepare_job
from maskline.components.data_snapshot import snapshot as room
from maskline.components.data_snapshot.snapshot import snapshot, snapshot_job
from maskline.data_job import ADVANCED, FIELDS, SETTINGS, data_job
from maskline.errors import DataError, JobError, MissingError
from maskline.inputs import Input
from maskline.job import ImageInstanceSegmentationJob
from maskline.sample_data import write_sample_data

FORMS = ("azure", "coco", "yolo")


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """The same data in a form whose records name their pictures, and in one that lists a folder."""
    folder = tmp_path_factory.mktemp("forms")
    write_sample_data(folder / "sample", pictures=12, size=64)
    for form in FORMS:
        convert(str(folder / "sample" / "train"), folder / form, form)
    return folder


def upload(folder, place):
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        storage.put(file, storage.join(place, *file.relative_to(folder).parts))


@pytest.fixture(params=["local", "s3"])
def place(request, tmp_path, forms):
    """Puts a form somewhere and gives a function that puts the local copy there again."""

    def put(form):
        shutil.copytree(forms / form, tmp_path / "data", dirs_exist_ok=True)
        if request.param == "local":
            return str(tmp_path / "data"), lambda: None
        bucket = request.getfixturevalue("bucket")
        upload(tmp_path / "data", f"{bucket}/data")
        return f"{bucket}/data", lambda: upload(tmp_path / "data", f"{bucket}/data")

    return put


def change_pixel(path):
    pixels = np.array(Image.open(path))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(path)


@pytest.mark.parametrize("form", FORMS)
def test_what_changes_it(form, place, tmp_path):
    where, again = place(form)
    data = tmp_path / "data"
    seen = [snapshot(where, "uri_folder", "label", {})]
    assert snapshot(where, "uri_folder", "label", {}) == seen[0]
    picture = sorted(p for p in data.rglob("*") if p.suffix in (".png", ".jpg"))[3]
    before = picture.read_bytes()
    change_pixel(picture)
    again()
    seen.append(snapshot(where, "uri_folder", "label", {}))
    picture.write_bytes(before)
    again()
    assert snapshot(where, "uri_folder", "label", {}) == seen[0]
    named = {"azure": "annotations.jsonl", "coco": "annotations.json"}.get(form)
    label = data / named if named else next(p for p in data.rglob("*.txt") if p.read_text())
    text = label.read_text()
    changed = re.sub(r"0\.(\d)", lambda m: f"0.{(int(m[1]) + 1) % 10}", text, count=1)
    label.write_text(changed if changed != text else text + " ")
    again()
    seen.append(snapshot(where, "uri_folder", "label", {}))
    assert len(set(seen)) == 3


def test_what_does_not_change_it(forms, tmp_path):
    shutil.copytree(forms / "azure", tmp_path / "moved")
    first, second = (snapshot(str(p), "mltable", "label", {}) for p in (forms / "azure", tmp_path / "moved"))
    assert first == second
    (tmp_path / "moved" / "README.md").write_text("nobody names this file")
    for file in (tmp_path / "moved").rglob("*"):
        os.utime(file, (1, 1))
    assert snapshot(str(tmp_path / "moved"), "mltable", "label", {}) == first


def test_pictures_in_a_bucket_are_not_read(forms, bucket, requests, monkeypatch):
    upload(forms / "azure", f"{bucket}/data")
    upload(forms / "yolo", f"{bucket}/yolo")
    for limit in (5, 50):
        monkeypatch.setattr(room, "LISTED", limit)
        requests.clear()
        snapshot(f"{bucket}/data", "mltable", "label", {})
        assert not [r for r in requests if r.startswith("GET") and r.endswith((".png", ".jpg"))]
        heads = [r for r in requests if r.startswith("HEAD") and "/images/" in r]
        assert bool(heads) == (limit == 50)
    requests.clear()
    snapshot(f"{bucket}/yolo", "uri_folder", "label", {})
    assert not [r for r in requests if "/images/" in r]


def test_listed_or_asked_for_is_the_same(forms, bucket, monkeypatch):
    upload(forms / "azure", f"{bucket}/data")
    asked = snapshot(f"{bucket}/data", "mltable", "label", {})
    monkeypatch.setattr(room, "LISTED", 1)
    assert snapshot(f"{bucket}/data", "mltable", "label", {}) == asked
    name = json.loads((forms / "azure" / "annotations.jsonl").read_text().splitlines()[0])["image_url"]
    storage.remove(f"{bucket}/data/{name}")
    missing = snapshot(f"{bucket}/data", "mltable", "label", {})
    monkeypatch.setattr(room, "LISTED", 50)
    assert missing == snapshot(f"{bucket}/data", "mltable", "label", {}) != asked


def test_archives_and_the_web(forms, bucket, web, tmp_path):
    address, folder = web
    archive = Path(shutil.make_archive(str(folder / "data"), "zip", forms / "coco"))
    shutil.copytree(forms / "yolo", folder / "yolo")
    storage.put(archive, f"{bucket}/data.zip")
    for where in (str(archive), f"{bucket}/data.zip", f"{address}/data.zip", f"{address}/yolo"):
        assert snapshot(where, "uri_folder", "label", {}) == snapshot(where, "uri_folder", "label", {})
    before = snapshot(str(archive), "uri_folder", "label", {})
    shutil.make_archive(str(folder / "data"), "zip", forms / "azure")
    assert snapshot(str(archive), "uri_folder", "label", {}) != before


def test_pictures_in_datastores_count(forms, bucket, tmp_path):
    upload(forms / "azure" / "images", f"{bucket}/store")
    lines = (forms / "azure" / "annotations.jsonl").read_text()
    (tmp_path / "lines.jsonl").write_text(lines.replace('"images/', '"azureml://datastores/d/paths/'))
    stores = {"azureml://datastores/d": f"{bucket}/store"}
    first = snapshot(str(tmp_path / "lines.jsonl"), "uri_file", "label", stores)
    picture = next((forms / "azure" / "images").iterdir())
    storage.put_bytes(b"other", f"{bucket}/store/{picture.name}")
    assert snapshot(str(tmp_path / "lines.jsonl"), "uri_file", "label", stores) != first
    with pytest.raises(JobError, match="azureml://datastores/d"):
        snapshot("azureml://datastores/d/paths/x", "coco", "label", {})


def test_large_pictures_are_read_at_their_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "LARGEST_READ", 1000)
    file = tmp_path / "large"
    file.write_bytes(bytes(5000))
    os.utime(file, ns=(1, 1))
    seen = [room._content(file)]
    for content, time in (
        (bytes(4999) + b"x", 1),
        (b"x" + bytes(4999), 1),
        (bytes(5001), 1),
        (bytes(5000), 2),
    ):
        file.write_bytes(content)
        os.utime(file, ns=(time, time))
        seen.append(room._content(file))
    assert len(set(seen)) == 5
    file.write_bytes(bytes(2500) + b"x" + bytes(2499))
    os.utime(file, ns=(1, 1))
    assert room._content(file) == seen[0]
    assert room._content(file, whole=True) != room._content(tmp_path / "large", whole=False)


def test_files_that_cannot_be_read_are_left_to_the_preparation(forms, tmp_path):
    for form in ("azure", "yolo"):
        shutil.copytree(forms / form, tmp_path / form)
        before = snapshot(str(tmp_path / form), "uri_folder", "label", {})
        picture = next(p for p in sorted((tmp_path / form).rglob("*")) if p.suffix in (".png", ".jpg"))
        picture.unlink()
        picture.symlink_to(tmp_path / "nowhere")
        missing = snapshot(str(tmp_path / form), "uri_folder", "label", {})
        picture.unlink()
        picture.mkdir()
        assert len({before, missing, snapshot(str(tmp_path / form), "uri_folder", "label", {})}) >= 2
        assert before != missing


@pytest.mark.parametrize("below", ["images", "data.yaml"])
def test_labels_count_for_a_part_of_a_yolo_set_too(below, forms, bucket, tmp_path):
    """Its data.yaml and labels lie beside the folder that is named."""
    shutil.copytree(forms / "yolo", tmp_path / "yolo")
    label = next(p for p in sorted((tmp_path / "yolo").rglob("*.txt")) if p.read_text())
    seen = {"local": [], "s3": []}
    for _ in range(2):
        upload(tmp_path / "yolo", f"{bucket}/yolo")
        seen["local"].append(snapshot(str(tmp_path / "yolo" / below), "uri_folder", "label", {}))
        seen["s3"].append(snapshot(f"{bucket}/yolo/{below}", "uri_folder", "label", {}))
        label.write_text(label.read_text().replace("0.", "0.0", 1))
    assert all(before != after for before, after in seen.values())


def test_nothing_there(bucket, tmp_path):
    with pytest.raises(MissingError, match="s3://bucket/none is not there"):
        snapshot(f"{bucket}/none", "uri_folder", "label", {})
    with pytest.raises(DataError, match="is not there"):
        snapshot(str(tmp_path / "none"), "uri_folder", "label", {})


# -- what the data are prepared by -------------------------------------------------------------------------


def make_job(path, **changes):
    fields = {
        "training_data": Input(type="mltable", path=str(path)),
        "target_column_name": "label",
        "training_parameters": {
            "number_of_epochs": 3,
            "random_seed": 7,
            "advanced_settings": '{"verify": "full"}',
        },
        "properties": {"azureml://datastores/d": "s3://b", "owner": "me"},
        "limits": {"max_trials": 3},
        "display_name": "mine",
    }
    return ImageInstanceSegmentationJob(**{**fields, **changes})


def test_the_part_of_the_job_that_counts(forms, tmp_path):
    job = make_job(forms / "azure", validation_data_size=0.3)
    part = data_job(job)
    assert data_job(part) == part
    assert part.to_dict() == {
        "type": "automl",
        "task": "image_instance_segmentation",
        "training_data": {"type": "mltable", "path": "training_data"},
        "target_column_name": "label",
        "validation_data_size": 0.3,
        "properties": {"azureml://datastores/d": "s3://b"},
        "training_parameters": {"random_seed": 7, "advanced_settings": '{"verify": "full"}'},
    }
    whole = prepare_job(job, str(forms / "azure"), "", "", tmp_path / "a")
    assert prepare_job(part, str(forms / "azure"), "", "", tmp_path / "b").digest == whole.digest


def test_nothing_else_of_a_job_is_read():
    file = Path(prepare_job.__code__.co_filename)
    read = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if re.fullmatch(r"(job|settings|settings\.advanced)\.\w+", text):
                read.add(text)
    known = {f"job.{name}" for name in (*FIELDS, "properties", "fixed_settings")}
    known |= {f"settings.{name}" for name in (*SETTINGS, "advanced")}
    known |= {f"settings.advanced.{name}" for name in ADVANCED}
    assert read <= known
    assert {f"settings.advanced.{name}" for name in ADVANCED} <= read


def test_a_version_stands_for_the_data():
    job = make_job("/nowhere")
    one, two = (snapshot_job(job, {"train": "/nowhere"}, version)[1] for version in ("1", "2"))
    assert one != two
    assert one == snapshot_job(job, {"train": "/elsewhere"}, "1")[1]


def test_parts_are_told_apart(forms):
    job, azure, coco = make_job("x"), str(forms / "azure"), str(forms / "coco")
    job.training_data = Input(path="x")
    digests = {
        snapshot_job(job, places)[1]
        for places in (
            {"train": azure, "validation": "", "test": ""},
            {"train": azure, "validation": coco, "test": ""},
            {"train": coco, "validation": azure, "test": ""},
            {"train": azure, "validation": "", "test": coco},
        )
    }
    assert len(digests) == 4
