"""Converted data are the same data, and what a form can't hold is said."""

import json
import os
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as api
from pycocotools.coco import COCO

from maskline import storage
from maskline.annotations import read_annotations
from maskline.annotations.bridges import bridged
from maskline.components.data_preparation.convert import TARGETS, convert
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.errors import DataError
from maskline.outlines import is_hole

BOX = [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5]


@pytest.fixture(scope="module")
def crowd(shared_data):
    return str(shared_data / "coco_crowd")


def _digest(source, out):
    return prepare(Source(str(source)), out=out, max_bad_fraction=1).digest


def test_crowds_holes_and_parts_stay_bit_by_bit_through_all_forms(crowd, tmp_path):
    place, expected = crowd, _digest(crowd, tmp_path / "expected")
    for target in TARGETS:
        done = convert(place, tmp_path / target, target, carry="link")
        assert (done.pictures, done.objects, done.crowds, done.lost) == (40, 303, 3, 0)
        place = str(tmp_path / target)
        assert _digest(place, tmp_path / "out") == expected


def test_azures_rings_mean_the_same_under_xor(crowd, tmp_path):
    """Azure's trainer draws each ring with pycocotools, and combines them by XOR."""
    convert(crowd, tmp_path, "azure")
    official = COCO(crowd + "/annotations.json")
    expected = {i["file_name"]: set() for i in official.loadImgs(official.getImgIds())}
    for annotation in official.loadAnns(official.getAnnIds()):
        name = official.loadImgs(annotation["image_id"])[0]["file_name"]
        expected[name].add((annotation["iscrowd"], official.annToMask(annotation).tobytes()))
    for line in (tmp_path / "annotations.jsonl").read_text().splitlines():
        record = json.loads(line)
        width, height = record["image_details"]["width"], record["image_details"]["height"]
        assert record["image_url"].startswith("images/")
        found = set()
        for label in record["label"]:
            mask = np.zeros((height, width), dtype=np.uint8)
            for ring in label["polygon"]:
                assert len(ring) >= 8
                assert 0 <= min(ring) <= max(ring) <= 1
                pixels = [v * (height if i % 2 else width) for i, v in enumerate(ring)]
                mask ^= api.decode(api.frPyObjects([pixels], height, width))[..., 0]
            found.add((label["isCrowd"], mask.tobytes()))
        assert found == expected[os.path.basename(record["image_url"])]


def test_coco_is_read_by_the_official_tool(crowd, tmp_path):
    convert(crowd, tmp_path, "coco")
    official = COCO(str(tmp_path / "annotations.json"))
    assert len(official.getImgIds()) == 40
    for image in official.loadImgs(official.getImgIds()):
        assert Image.open(tmp_path / "images" / image["file_name"]).size == (image["width"], image["height"])


def test_a_bridge_goes_there_and_back():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4]])
    hole = np.array([[1, 1], [1, 3], [3, 3], [3, 1]])
    assert (is_hole(square), is_hole(hole)) == (False, True)
    path = bridged([square, hole]).tolist()
    assert path == [[0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1], [0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]


# -- names ---------------------------------------------------------------------------------------------------

NAMES = (
    "a.png",
    "sub/a.png",
    "images/deep/images/a.png",
    "a.jpg",
    "no_suffix",
    "name with  spaces.png",
    "a#b%20c&d=?.png",
    "quote'\".png",
    "-dash.png",
    "trailing.dot..png",
    "名前😀.png",
    "cafe\u0301.png",
    "caf\u00e9.png",
    "line\nbreak.png",
    ".hidden.png",
    ".folder/a.png",
    "x" * 240 + ".png",
)


@pytest.mark.parametrize("carry", ["copy", "link"])
@pytest.mark.parametrize("target", TARGETS)
def test_names_with_odd_characters(target, carry, tmp_path, write_lines, paint):
    (tmp_path / "data").mkdir()
    paint(tmp_path / "data" / "no_suffix.png", 200)
    (tmp_path / "data" / "no_suffix.png").rename(tmp_path / "data" / "no_suffix")
    source = write_lines(tmp_path / "data", {name: ["x"] for name in NAMES})
    convert(source.path, tmp_path / "new", target, carry=carry)
    found = read_annotations(tmp_path / "new")
    assert len(found.pictures) == len(NAMES)
    assert not found.findings
    assert all(os.path.islink(p.file) == (carry == "link") for p in found.pictures)
    assert _digest(tmp_path / "new", tmp_path / "a") == _digest(source.path, tmp_path / "b")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_utf8_is_written_as_text(odd, tmp_path):
    (tmp_path / "data").mkdir()
    try:
        shutil.copy(os.fsencode(odd / "same.jpg"), os.fsencode(tmp_path) + b"/data/latin1_caf\xe9.jpg")
    except OSError:
        pytest.skip("the file system knows Unicode names only")
    name = os.fsdecode(b"latin1_caf\xe9.jpg")
    record = {"image_url": name, "label": [{"label": "x", "polygon": [BOX]}]}
    (tmp_path / "data/a.jsonl").write_text(json.dumps(record))
    done = convert(str(tmp_path / "data"), tmp_path / "new", "yolo")
    assert os.listdir(tmp_path / "new/images") == ["latin1_caf_xE9.jpg"]
    (note,) = done.notes
    assert note == r"1 pictures have another name now, 'latin1_caf\udce9.jpg' is 'latin1_caf_xE9.jpg' for one"


def test_pictures_that_differ_in_suffix_only_have_labels_of_their_own(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {"a.jpg": ["x"], "a.png": ["y"]})
    convert(source.path, tmp_path / "new", "yolo")
    assert sorted(os.listdir(tmp_path / "new/labels")) == ["a.txt", "a_2.txt"]
    found = read_annotations(tmp_path / "new")
    labels = {os.path.basename(p.file): p.instances[0].label for p in found.pictures}
    assert labels == {"a.jpg": "x", "a_2.png": "y"}


# -- what is said ------------------------------------------------------------------------------------------


def test_what_is_left_out_is_listed_with_its_place(tmp_path, write_lines):
    bad = {"label": "x", "polygon": [[0.1, 0.1]]}
    source = write_lines(tmp_path / "data", {"a.png": ["x", bad], "missing.png": ["x"], "b.png": []})
    done = convert(source.path, tmp_path / "new", "coco")
    assert (done.pictures, done.objects, done.lost) == (2, 1, 3)
    written = json.loads((tmp_path / "new/conversion.json").read_text())
    assert {f["where"].rsplit(":", 1)[1]: f["kind"] for f in written["findings"]} == {
        "1 object 2": "bad_polygon",
        "2": "missing_picture",
    }
    assert written["kinds"] == done.kinds == {"bad_polygon": 1, "missing_picture": 1}


def test_what_yolo_cannot_hold_is_said(crowd, tmp_path):
    notes = " ".join(convert(crowd, tmp_path, "yolo").notes)
    assert "3 crowd regions, which YOLO can't hold, are in crowd.jsonl" in notes
    assert "of several parts are one ring each, joined by bridges" in notes
    assert "val:" not in "".join((tmp_path / "data.yaml").read_text().splitlines()[1:])


def test_rotated_pictures_are_told_of(tmp_path, write_lines, paint):
    source = write_lines(tmp_path / "data", {"a.png": ["x"], "b.jpg": ["x"]})
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down: the size says nothing
    paint(tmp_path / "data" / "b.jpg", exif=exif)
    (note,) = convert(source.path, tmp_path / "new", "azure").notes
    assert note.startswith("1 pictures carry an EXIF rotation")


def test_parts_of_yolo_are_told_of(tmp_path, write_lines, paint):
    for part in ("train", "val"):
        paint(tmp_path / f"images/{part}/{part}.png")
    (tmp_path / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [x]\n")
    (note,) = convert(str(tmp_path), tmp_path / "new", "azure").notes
    assert note.startswith("the parts train, val are one set now")
    assert not convert(str(tmp_path / "images/val"), tmp_path / "val", "azure").notes


def test_a_prefix_stands_before_the_names(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {"sub/a b.png": ["x"], "c.png": []})
    prefix = "azureml://datastores/mine/paths/cans/"
    convert(source.path, tmp_path / "new", "azure", prefix=prefix)
    lines = (tmp_path / "new/annotations.jsonl").read_text().splitlines()
    urls = {json.loads(line)["image_url"] for line in lines}
    assert urls == {prefix + "images/sub/a b.png", prefix + "images/c.png"}


def test_archives_and_buckets_are_converted_too(crowd, tmp_path):
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        archive.add(crowd, "coco_crowd")
    done = convert(str(tmp_path / "a.tar.gz"), tmp_path / "new", "azure")
    assert (done.pictures, done.objects, done.crowds) == (40, 303, 3)
    assert _digest(tmp_path / "new", tmp_path / "out") == _digest(crowd, tmp_path / "b")
    with pytest.raises(DataError, match="must be fetched or unpacked; use --pictures copy"):
        convert(str(tmp_path / "a.tar.gz"), tmp_path / "links", "azure", carry="link")
    found = json.loads((tmp_path / "new/conversion.json").read_text())
    assert "maskline-convert-" not in json.dumps(found)
    store = storage.join("memory://convert", tmp_path.name)
    for file in (p for p in (tmp_path / "new").rglob("*") if p.is_file() and p.name != "conversion.json"):
        storage.put(file, storage.join(store, *file.relative_to(tmp_path / "new").parts))
    convert(store, tmp_path / "again", "coco")
    assert _digest(tmp_path / "again", tmp_path / "out") == _digest(crowd, tmp_path / "b")


def test_what_is_refused(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {"a.png": ["x"]}).path
    with pytest.raises(DataError, match="data is not empty; name a new folder"):
        convert(source, tmp_path / "data", "coco")
    with pytest.raises(DataError, match="--to voc is unknown; choose one of azure, coco, yolo"):
        convert(source, tmp_path / "new", "voc")
    with pytest.raises(DataError, match="--image-url belongs to azure"):
        convert(source, tmp_path / "new", "coco", prefix="https://h/")
    nothing = write_lines(tmp_path / "nothing", {"missing.png": ["x"]}).path
    with pytest.raises(DataError, match="no picture that can be used; .*missing.png"):
        convert(nothing, tmp_path / "new", "coco")
    assert not (tmp_path / "new").exists()
