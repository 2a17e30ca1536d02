"""The same pictures and objects in seven formats prepare to the same masks and the same split."""

import base64
import hashlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from maskline import storage
from maskline.components.data_preparation.convert import TARGETS, convert
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.dataset import PreparedDataset

CLASSES = {"can": 1, "box": 2}


def _objects(number):
    """Bitmaps of some objects by label: a disc with a hole, and an object of two parts."""
    rows, columns = np.mgrid[:60, :80]
    distance = np.hypot(rows - 25, columns - 20 - number)
    ring = (distance < 15) & (distance > 6)
    parts = (rows > 40) & (rows < 55) & ((columns < 20 + number) | (columns > 60))
    return [("can", ring), ("box", parts)] if number % 3 else [("can", ring)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Twelve noisy pictures, the last without objects."""
    folder = tmp_path_factory.mktemp("pictures")
    found = {}
    for number in range(12):
        noise = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"picture {number}.png")
        found[folder / f"picture {number}.png"] = _objects(number) if number < 11 else []
    return found


def _png(values, path, palette=None):
    image = Image.fromarray(values.astype(np.uint8), mode="P" if palette else "L")
    if palette:
        image.putpalette(palette)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _runs(bitmap):
    found = rle.encode(np.asfortranarray(bitmap.astype(np.uint8)))
    return {"size": found["size"], "counts": found["counts"].decode()}


def _coco(folder, pictures):
    images, annotations = [], []
    for file, objects in pictures.items():
        shutil.copy(file, folder)
        images.append({"id": len(images), "file_name": file.name, "width": 80, "height": 60})
        for label, bitmap in objects:
            annotations.append(
                {
                    "id": len(annotations),
                    "image_id": len(images) - 1,
                    "category_id": CLASSES[label],
                    "segmentation": _runs(bitmap),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": i, "name": n} for n, i in CLASSES.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "all.json").write_text(json.dumps(whole))


def _instance_masks(folder, pictures):
    for file, objects in pictures.items():
        (folder / file.stem / "images").mkdir(parents=True)
        (folder / file.stem / "masks").mkdir()
        shutil.copy(file, folder / file.stem / "images")
        for number, (label, bitmap) in enumerate(objects):
            _png(bitmap * 255, folder / file.stem / "masks" / label / f"{number}.png")


def _pascal_voc(folder, pictures):
    (folder / "JPEGImages").mkdir()
    (folder / "labelmap.txt").write_text("# label:color\nbackground:0,0,0::\ncan:128,0,0::\nbox:0,128,0::\n")
    palette = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [7] * (252 * 3)
    for file, objects in pictures.items():
        shutil.copy(file, folder / "JPEGImages")
        numbers, classes = np.zeros((60, 80)), np.zeros((60, 80))
        for number, (label, bitmap) in enumerate(objects, 1):
            numbers[bitmap], classes[bitmap] = number, CLASSES[label]
        numbers[0, 0] = 255  # a border belongs to no object
        _png(numbers, folder / "SegmentationObject" / file.name, palette)
        _png(classes, folder / "SegmentationClass" / file.name, palette)


def _labelme(folder, pictures):
    for file, objects in pictures.items():
        shutil.copy(file, folder)
        shapes = []
        for label, bitmap in objects:
            rows, columns = np.nonzero(bitmap)
            crop = bitmap[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            stream = io.BytesIO()
            Image.fromarray(crop).save(stream, "PNG")
            points = [
                [int(columns.min()), int(rows.min())],
                [int(columns.max()), int(rows.max())],
            ]
            text = base64.b64encode(stream.getvalue()).decode()
            shapes.append({"label": label, "shape_type": "mask", "points": points, "mask": text})
        data = {"imagePath": file.name, "imageWidth": 80, "imageHeight": 60, "shapes": shapes}
        (folder / f"{file.stem}.json").write_text(json.dumps(data))


WRITERS = {
    "coco": _coco,
    "instance_masks": _instance_masks,
    "pascal_voc": _pascal_voc,
    "labelme": _labelme,
}


def _prepared(folder, kind, out=None):
    out = out or folder.parent / f"{folder.name}-{kind}"
    found = prepare(Source(str(folder), kind), out=out, seed=5)
    parts = {}
    for name in ("train", "validation"):
        whole = found.coco(name)
        labels = {c["id"]: c["name"] for c in whole["categories"]}
        parts[name] = [
            (
                image["sha256"],
                [
                    (labels[a["category_id"]], a["segmentation"]["counts"])
                    for a in whole["annotations"]
                    if a["image_id"] == image["id"]
                ],
            )
            for image in whole["images"]
        ]
    return found, parts


@pytest.mark.parametrize("kind", WRITERS)
def test_same_masks_and_split(kind, pictures, tmp_path):
    expected_folder, folder = tmp_path / "expected", tmp_path / kind
    expected_folder.mkdir()
    folder.mkdir()
    _coco(expected_folder, pictures)
    WRITERS[kind](folder, pictures)
    expected, parts = _prepared(expected_folder, "coco")
    for name in (kind, "uri_folder"):
        found, same = _prepared(folder, name)
        assert same == parts
        assert found.digest == expected.digest
        assert not found.findings
    truth = sorted(_runs(b)["counts"] for objects in pictures.values() for _, b in objects)
    assert sorted(c for part in parts.values() for _, objects in part for _, c in objects) == truth


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", WRITERS)
def test_every_form_converts_to_the_same_masks(kind, target, pictures, tmp_path):
    (tmp_path / kind).mkdir()
    WRITERS[kind](tmp_path / kind, pictures)
    done = convert(str(tmp_path / kind), tmp_path / "new" / target, target)
    assert (done.pictures, done.objects, done.kinds) == (12, 18, {})
    _, before = _prepared(tmp_path / kind, "uri_folder")
    _, after = _prepared(tmp_path / "new" / target, "uri_folder")
    assert after == before


def _upload(folder, place):
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        storage.put(file, storage.join(place, *file.relative_to(folder).parts))


@pytest.mark.parametrize("kind", [*WRITERS, "mltable", "yolo"])
def test_data_in_a_bucket_are_those_of_a_folder(kind, pictures, tmp_path, bucket, requests):
    """And only their pictures are fetched: not one that nobody names."""
    folder = tmp_path / kind
    folder.mkdir()
    WRITERS.get(kind, _coco)(folder, pictures)
    if kind in ("mltable", "yolo"):
        convert(str(folder), tmp_path / "new", "azure" if kind == "mltable" else "yolo")
        folder = tmp_path / "new"
    for empty in folder.glob("*/masks"):
        if not any(empty.iterdir()):
            empty.rmdir()  # a bucket has no empty folders either
    expected, parts = _prepared(folder, "uri_folder")
    _upload(folder, f"{bucket}/deep/down/data")
    storage.put_bytes(b"notes", f"{bucket}/deep/down/data/notes.md")
    storage.put_bytes(b"x", f"{bucket}/deep/down/data/other.jpg")
    for name in (kind, "uri_folder"):
        requests.clear()
        out = tmp_path / f"{name}-out"
        found = prepare(Source(f"{bucket}/deep/down/data", name), out=out, seed=5)
        assert found.digest == expected.digest
        assert {k: n for k, n in found.findings.items() if k != "unlabelled_picture"} == expected.findings
        got = [line for line in requests if line.startswith("GET") and line.endswith((".md", "other.jpg"))]
        assert not got
        assert sorted(p.name for p in out.iterdir()) == [
            "dataset.json",
            "findings.jsonl",
            "pictures",
            "train.json",
            "validation.json",
        ]
    _moved(out, tmp_path / "elsewhere", parts)


def _moved(out, other, parts):
    """A prepared data set that holds its pictures can be moved."""
    shutil.move(out, other)
    found = PreparedDataset.read(other)
    for name, expected in parts.items():
        images = found.coco(name)["images"]
        assert [image["sha256"] for image in images] == [sha for sha, _ in expected]
        for image in images:
            assert Path(image["file_name"]).is_relative_to(other)
            assert hashlib.sha256(Path(image["file_name"]).read_bytes()).hexdigest() == image["sha256"]


@pytest.mark.parametrize("kind", WRITERS)
def test_data_in_an_archive_are_those_of_a_folder(kind, pictures, tmp_path, bucket):
    folder = tmp_path / "whole" / kind
    folder.mkdir(parents=True)
    WRITERS[kind](folder, pictures)
    expected, parts = _prepared(folder, "uri_folder", tmp_path / "expected")
    for inside, form in ((folder, "zip"), (folder.parent, "gztar"), (folder, "tar")):
        archive = Path(shutil.make_archive(str(tmp_path / f"a-{form}"), form, inside))
        storage.put(archive, f"{bucket}/{archive.name}")
        for place in (str(archive), f"{bucket}/{archive.name}"):
            found = prepare(Source(place, "uri_folder"), out=tmp_path / "out", seed=5)
            assert found.digest == expected.digest
            assert not found.findings
    _moved(tmp_path / "out", tmp_path / "elsewhere", parts)


def test_yolo_joins_parts_and_holes_by_bridges(tmp_path, bucket):
    """A ring that runs to its hole and back, and two squares joined by a line, draw exactly."""
    hole = [10, 10, 50, 10, 50, 50, 10, 50, 10, 10, 20, 20, 20, 30, 30, 30, 30, 20, 20, 20, 10, 10]
    parts = [60, 10, 70, 10, 70, 20, 60, 20, 60, 10, 60, 40, 70, 40, 70, 50, 60, 50, 60, 40, 60, 10]
    line = [" ".join(str(v / (80 if i % 2 == 0 else 60)) for i, v in enumerate(r)) for r in (hole, parts)]
    for part, number in (("train", 0), ("val", 1)):
        (tmp_path / "yolo/images" / part).mkdir(parents=True)
        (tmp_path / "yolo/labels" / part).mkdir(parents=True)
        noise = np.random.default_rng(number).integers(0, 255, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "yolo/images" / part / "a b.png")
        (tmp_path / "yolo/labels" / part / "a b.txt").write_text(f"0 {line[0]}\n1 {line[1]}\n")
    (tmp_path / "yolo/data.yaml").write_text(
        "path: .\ntrain: images/train\nval: images/val\nnames: {0: can, 1: box}\n"
    )
    crowd = np.zeros((60, 80))
    crowd[:5] = 1
    record = {"image": "images/val/a b.png", "label": "can", "segmentation": _runs(crowd)}
    (tmp_path / "yolo/crowd.jsonl").write_text(json.dumps(record) + "\n")
    expected = {}
    bitmap = np.zeros((60, 80))
    bitmap[10:50, 10:50] = 1
    bitmap[20:30, 20:30] = 0
    expected["can"] = _runs(bitmap)["counts"]
    bitmap = np.zeros((60, 80))
    bitmap[10:20, 60:70] = bitmap[40:50, 60:70] = 1
    expected["box"] = _runs(bitmap)["counts"]

    found, parts = _prepared(tmp_path / "yolo", "uri_folder")
    for part in parts.values():
        assert {label: counts for label, counts in part[0][1] if counts in expected.values()} == expected
    assert sum(split["crowds"] for split in found.splits.values()) == 1
    assert not found.findings
    one = Source(str(tmp_path / "yolo/images/train"), "uri_folder")
    other = Source(str(tmp_path / "yolo/images/val"), "yolo")
    apart = prepare(one, other, out=tmp_path / "apart")
    assert {name: split["images"] for name, split in apart.splits.items()} == {"train": 1, "validation": 1}
    _upload(tmp_path / "yolo", f"{bucket}/yolo")
    one = Source(f"{bucket}/yolo/images/train", "uri_folder")
    other = Source(f"{bucket}/yolo/images/val/", "yolo")
    assert prepare(one, other, out=tmp_path / "remote").digest == apart.digest
    whole = prepare(Source(f"{bucket}/yolo/data.yaml"), out=tmp_path / "whole", seed=5)
    assert whole.digest == found.digest


def _outlines(number):
    """Outlines of some objects in pixels by label, as a person draws them: not along the edges of pixels."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    disc = np.stack([25.3 + number + 14.2 * np.cos(turn), 24.7 + 17.6 * np.sin(turn)], axis=1)
    return {"can": disc, "box": np.array([[50.2, 8.9], [75.4, 14.1], [70.8, 52.3], [52.7, 40.6]])}


def _as_polygons(folder, pictures, form):
    """The outlines in a form that holds points; YOLO's and Azure's with six decimals of a fraction."""
    images, annotations, lines = [], [], []
    for number, file in enumerate(pictures):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "labels").mkdir(exist_ok=True)
        shutil.copy(file, folder / "images")
        outlines = _outlines(number)
        shares = {n: np.round(o / [80, 60], 6).ravel().tolist() for n, o in outlines.items()}
        text = "".join(f"{list(CLASSES).index(n)} {' '.join(map(str, v))}\n" for n, v in shares.items())
        objects = [{"label": n, "polygon": [v]} for n, v in shares.items()]
        lines.append(json.dumps({"image_url": f"images/{file.name}", "label": objects}))
        images.append({"id": number, "file_name": file.name, "width": 80, "height": 60})
        annotations += [
            {"image_id": number, "category_id": CLASSES[n], "segmentation": [o.ravel().tolist()]}
            for n, o in outlines.items()
        ]
        shapes = [{"label": n, "shape_type": "polygon", "points": o.tolist()} for n, o in outlines.items()]
        whole = {"imagePath": file.name, "imageWidth": 80, "imageHeight": 60, "shapes": shapes}
        if form == "labelme":
            (folder / f"images/{file.stem}.json").write_text(json.dumps(whole))
        (folder / f"labels/{file.stem}.txt").write_text(text)
    categories = [{"id": i, "name": n} for n, i in CLASSES.items()]
    whole = {"images": images, "annotations": annotations, "categories": categories}
    if form == "coco":
        (folder / "all.json").write_text(json.dumps(whole))
    elif form == "azure_jsonl":
        (folder / "all.jsonl").write_text("\n".join(lines))
    elif form == "yolo":
        (folder / "data.yaml").write_text(f"train: images\nnames: {list(CLASSES)}\n")


@pytest.mark.parametrize("form", ["azure_jsonl", "yolo", "labelme", "pascal_voc"])
def test_outlines_in_five_forms(form, pictures, tmp_path):
    """Masks agree where a form rounds its points; where it holds pixels they are the same."""
    for name in ("coco", form):
        (tmp_path / name).mkdir()
    _as_polygons(tmp_path / "coco", pictures, "coco")
    if form == "pascal_voc":
        drawn = {
            file: [
                (n, rle.decode(rle.frPyObjects([o.ravel().tolist()], 60, 80))[..., 0] > 0)
                for n, o in _outlines(number).items()
            ]
            for number, file in enumerate(pictures)
        }
        _pascal_voc(tmp_path / form, drawn)
    else:
        _as_polygons(tmp_path / form, pictures, form)
    expected, parts = _prepared(tmp_path / "coco", "coco")
    found, same = _prepared(tmp_path / form, "uri_folder")
    assert not found.findings
    for part, listed in parts.items():
        assert [sha for sha, _ in same[part]] == [sha for sha, _ in listed]
        for (_, ours), (_, truth) in zip(same[part], listed, strict=True):
            assert [label for label, _ in ours] == [label for label, _ in truth]
            masks = [[{"size": [60, 80], "counts": c} for _, c in objects] for objects in (ours, truth)]
            assert np.diag(rle.iou(*masks, [0] * len(truth))).min() >= 0.99
    if form in ("labelme", "pascal_voc"):
        assert same == parts
        assert found.digest == expected.digest


def test_nuclei_as_they_come(shared_data, dsb2018_jsonl, tmp_path):
    """The real mask folders are the same data as their exact outlines in Azure's form."""
    found = prepare(Source(str(shared_data / "dsb2018_dev")), out=tmp_path / "folders")
    outlines = prepare(Source(str(dsb2018_jsonl)), out=tmp_path / "outlines")
    assert found.splits == outlines.splits
    for name in ("train", "validation"):
        one, other = found.coco(name), outlines.coco(name)
        assert [i["sha256"] for i in one["images"]] == [i["sha256"] for i in other["images"]]
        assert [a["segmentation"] for a in one["annotations"]] == [
            a["segmentation"] for a in other["annotations"]
        ]
