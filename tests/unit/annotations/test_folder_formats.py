"""What is wrong in YOLO, LabelMe, Pascal VOC and mask folders is listed with its place."""

import base64
import contextlib
import io
import json
import os

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from maskline.annotations import read_annotations
from maskline.annotations.shapes import from_bitmap
from maskline.errors import DataError, MasklineError

SQUARE = "0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5"


def _yolo(folder, text="", data="train: images\nnames: [can, box]\n"):
    (folder / "images").mkdir(exist_ok=True)
    (folder / "labels").mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(folder / "images/a.png")
    (folder / "labels/a.txt").write_text(text)
    (folder / "data.yaml").write_text(data)
    return folder


def _labelme(folder, shapes, **more):
    Image.new("RGB", (40, 30)).save(folder / "a.png")
    data = {"imagePath": "a.png", "imageWidth": 40, "imageHeight": 30, "shapes": shapes, **more}
    (folder / "a.json").write_text(json.dumps(data))
    return folder


def _voc(folder, numbers, xml=None, picture="a"):
    for name in ("JPEGImages", "SegmentationObject", "Annotations"):
        (folder / name).mkdir(exist_ok=True)
    Image.new("RGB", (40, 30)).save(folder / f"JPEGImages/{picture}.jpg")
    Image.fromarray(numbers.astype(np.uint8)).save(folder / "SegmentationObject/a.png")
    if xml is not None:
        (folder / "Annotations/a.xml").write_text(xml)
    return folder


def _shape(**more):
    return {"label": "can", "shape_type": "polygon", "points": [[1, 1], [20, 1], [20, 20]], **more}


def _kinds(found):
    return [f.kind for f in found.findings]


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("0 0.5 0.5 0.2 0.2", "bad_polygon"),
        (f"7 {SQUARE}", "unknown_category"),
        (f"nan {SQUARE}", "unknown_category"),
        (f"can {SQUARE}", "bad_line"),
        ("0 0.1 0.1 0.5", "bad_polygon"),
        ("0 0.1 0.1 nan 0.1 0.5 0.5", "bad_polygon"),
    ],
)
def test_bad_yolo_lines(line, kind, tmp_path):
    found = read_annotations(_yolo(tmp_path, f"0 {SQUARE}\n{line}\n"))
    assert [(f.kind, f.where, f.lost) for f in found.findings] == [(kind, f"{tmp_path}/labels/a.txt:2", 1)]
    assert len(found.pictures[0].instances) == 1
    assert found.records == 3


def test_yolo_pictures_and_labels_that_stand_alone(tmp_path):
    _yolo(tmp_path, f"1 {SQUARE}\n")
    Image.new("RGB", (40, 30)).save(tmp_path / "images/alone.png")
    (tmp_path / "labels/orphan.txt").write_text(f"0 {SQUARE}\n")
    found = read_annotations(tmp_path)
    assert [(len(p.instances), p.listed) for p in found.pictures] == [(1, 1), (0, 0)]
    assert [(f.kind, f.where) for f in found.findings] == [
        ("missing_picture", f"{tmp_path}/labels/orphan.txt")
    ]


def test_a_list_of_yolo_may_name_what_no_file_is_called(tmp_path):
    _yolo(tmp_path, f"1 {SQUARE}\n", "train: list.txt\nnames: [can, box]\n")
    (tmp_path / "list.txt").write_text("images/a.png\n" + "x" * 5000 + ".png\n")
    found = read_annotations(tmp_path)
    assert [(f.kind, f.where) for f in found.findings] == [("bad_record", f"{tmp_path}/list.txt:2")]
    assert len(found.pictures) == 1


def test_yolo_labels_that_cannot_be_read_make_no_background(tmp_path):
    """As links into a store of large files whose content wasn't fetched."""
    _yolo(tmp_path)
    (tmp_path / "labels/a.txt").unlink()
    (tmp_path / "labels/a.txt").symlink_to("nowhere")
    found = read_annotations(tmp_path)
    assert [(f.kind, f.where) for f in found.findings] == [("bad_line", f"{tmp_path}/labels/a.txt")]
    assert (found.pictures[0].listed, found.records) == (1, 2)


def test_pipes_are_not_read(tmp_path):
    """Nobody writes to them, so that reading would never end."""
    _yolo(tmp_path)
    (tmp_path / "labels/a.txt").unlink()
    os.mkfifo(tmp_path / "labels/a.txt")
    os.mkfifo(tmp_path / "images/b.png")
    found = read_annotations(tmp_path)
    assert [(f.kind, f.where) for f in found.findings] == [("bad_line", f"{tmp_path}/labels/a.txt")]
    assert [p.file for p in found.pictures] == [f"{tmp_path}/images/a.png"]


def test_linked_folders_are_read_once_and_under_their_own_name(tmp_path):
    """`other` is a link to the outside, `again` to what is there already, `up` goes round."""
    data, outside = tmp_path / "data", tmp_path / "outside"
    (data / "images").mkdir(parents=True)
    _yolo(data, f"1 {SQUARE}\n")
    outside.mkdir()
    Image.new("RGB", (40, 30)).save(outside / "b.png")
    for name in ("images/own", "labels/own", "labels/other"):
        (data / name).mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(data / "images/own/c.png")
    (data / "labels/own/c.txt").write_text(f"0 {SQUARE}\n")
    (data / "labels/other/b.txt").write_text(f"0 {SQUARE}\n")
    for link, to in (("again", data / "images/own"), ("other", outside), ("up", data / "images")):
        (data / "images" / link).symlink_to(to)
    found = read_annotations(data)
    names = [(p.file.removeprefix(f"{data}/images/"), len(p.instances)) for p in found.pictures]
    assert names == [("a.png", 1), ("other/b.png", 1), ("own/c.png", 1)]


@pytest.mark.parametrize(
    "data",
    [
        "train: ../outside\nnames: [can]\n",
        "train: images\n",
        "train: nowhere\nnames: [can]\n",
        "path: [1]\ntrain: images\nnames: [can]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nnames: [can]\ntrain: images\n",
        "train: images\nnames: {can: 0}\n",
        "- a\n",
        "names: [can\n",
    ],
)
def test_bad_data_yaml(data, tmp_path):
    with pytest.raises(DataError, match="data.yaml"):
        read_annotations(_yolo(tmp_path, "", data), "yolo")


def test_names_of_yolo_may_be_digits(tmp_path):
    found = read_annotations(_yolo(tmp_path, f"1 {SQUARE}\n", "train: images\nnames: [0, 1]\n"))
    assert found.classes == ("1",)
    with pytest.raises(DataError, match="names has 1: False; write NUMBER: name, in quotes"):
        read_annotations(_yolo(tmp_path, "", "train: images\nnames: [yes, no]\n".replace("yes", "can")))


@pytest.mark.parametrize("part", ["../train/images", "train/images", "./train/images"])
def test_parts_beside_data_yaml(part, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / "train" / folder).mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(tmp_path / "train/images/a.png")
    (tmp_path / "train/labels/a.txt").write_text(f"0 {SQUARE}\n")
    (tmp_path / "data.yaml").write_text(f"train: {part}\nnc: 1\nnames: ['can']\n")
    found = read_annotations(tmp_path)
    assert [(p.file, len(p.instances)) for p in found.pictures] == [(f"{tmp_path}/train/images/a.png", 1)]


def test_labelme_groups_shapes_and_crowd(tmp_path):
    square = [[10, 10], [30, 10], [30, 25], [10, 25]]
    hole = [[15, 12], [20, 12], [20, 20], [15, 20]]
    found = read_annotations(
        _labelme(
            tmp_path,
            [
                _shape(points=square, group_id=1),
                _shape(points=hole, group_id=1),
                _shape(shape_type="rectangle", points=[[1, 1], [5, 5]], flags={"crowd": True}),
                _shape(shape_type="circle", points=[[8, 8], [8, 12]], label="box"),
            ],
        )
    )
    instances = found.pictures[0].instances
    assert [(i.label, i.crowd, len(i.shape.rings)) for i in instances] == [
        ("can", False, 2),
        ("can", True, 1),
        ("box", False, 1),
    ]
    assert instances[0].shape.holes
    assert (found.records, found.findings) == (4, [])


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        (_shape(shape_type="line", points=[[1, 1], [2, 2]]), "bad_polygon"),
        (_shape(points=[[1, 1], [2, "x"], [3, 3]]), "bad_polygon"),
        (_shape(points=[[1, 1], [2, 2]]), "bad_polygon"),
        (_shape(label=""), "bad_label"),
        (_shape(shape_type="mask", mask="!!"), "bad_polygon"),
        ("text", "bad_record"),
    ],
)
def test_bad_labelme_shapes(shape, kind, tmp_path):
    found = read_annotations(_labelme(tmp_path, [_shape(), shape]))
    assert [(f.kind, f.where, f.lost) for f in found.findings] == [(kind, f"{tmp_path}/a.json: shape 1", 1)]
    assert len(found.pictures[0].instances) == 1


def test_labelme_lists_what_nobody_looked_at_and_what_leaves(tmp_path):
    _labelme(tmp_path, [_shape()])
    Image.new("RGB", (4, 4)).save(tmp_path / "later.png")
    (tmp_path / "b.json").write_text(json.dumps({"imagePath": "../x.png", "shapes": [_shape()]}))
    (tmp_path / "c.json").write_text('{"shapes": [}, "imagePath"')
    found = read_annotations(tmp_path, "labelme")
    assert sorted((f.kind, f.lost) for f in found.findings) == [
        ("bad_record", 1),
        ("unlabelled_picture", 0),
        ("unsafe_path", 2),
    ]


@pytest.mark.parametrize("first", ['{"shapes": [', '{"tool": "another"}', ""])
def test_labelme_is_known_whatever_its_first_file_is(first, tmp_path):
    _labelme(tmp_path, [_shape()])
    (tmp_path / "_first.json").write_text(first)
    Image.new("RGB", (40, 30)).save(tmp_path / "_first.png")
    for kind in ("uri_folder", "labelme"):
        found = read_annotations(tmp_path, kind)
        assert [(f.kind, f.where) for f in found.findings] == [("bad_record", f"{tmp_path}/_first.json")]
        assert len(found.pictures) == 1


@pytest.mark.parametrize("corner", [(0, 0), (3, 2), (-2, -1), (-20, 0), (38, 29), (60, 0)])
def test_a_labelme_bitmap_lies_where_its_corner_says(corner, tmp_path):
    bitmap = np.arange(20).reshape(4, 5) % 3 == 0
    stream = io.BytesIO()
    Image.fromarray(bitmap.astype(np.uint8) * 255).save(stream, "PNG")
    text = base64.b64encode(stream.getvalue()).decode()
    x, y = corner
    mask = _shape(shape_type="mask", mask=text, points=[[x, y], [x + 4, y + 3]])
    shape = read_annotations(_labelme(tmp_path, [mask])).pictures[0].instances[0].shape
    expected = np.zeros((30, 40), dtype=bool)
    for row, column in np.argwhere(bitmap) + (y, x):
        if 0 <= row < 30 and 0 <= column < 40:
            expected[row, column] = True
    assert shape == from_bitmap(expected)


XML = """<annotation>
<object><name>cat</name><difficult>1</difficult>
<bndbox><xmin>21</xmin><ymin>1</ymin><xmax>30</xmax><ymax>10</ymax></bndbox></object>
<object><name>dog</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>10</xmax><ymax>10</ymax></bndbox></object>
</annotation>"""


def test_voc_objects_are_matched_by_overlap(tmp_path):
    """The XML file lists them the other way round, and one object of the mask has no box."""
    numbers = np.zeros((30, 40))
    numbers[:10, :10], numbers[:10, 20:30], numbers[20:, :5] = 1, 2, 3
    found = read_annotations(_voc(tmp_path, numbers, XML))
    assert [(i.label, i.crowd) for i in found.pictures[0].instances] == [("dog", False), ("cat", True)]
    assert [(f.kind, f.where) for f in found.findings] == [
        ("unknown_category", f"{tmp_path}/SegmentationObject/a.png: object 3")
    ]


@pytest.mark.parametrize(
    ("xml", "kind"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "bad_record"),
        ("<annotation>", "bad_record"),
        (XML.replace("<xmin>21</xmin>", ""), "bad_record"),
    ],
)
def test_bad_voc_xml(xml, kind, tmp_path):
    found = read_annotations(_voc(tmp_path, np.ones((30, 40)), xml))
    assert _kinds(found) == [kind]
    assert "a.xml" in found.findings[0].what


def test_voc_boxes_without_masks_and_pictures_without_either(tmp_path):
    found = read_annotations(_voc(tmp_path, np.zeros((30, 40)), XML))
    assert [(f.kind, f.lost) for f in found.findings] == [("bad_box", 1), ("bad_box", 1)]
    _voc(tmp_path, np.zeros((30, 40)), "<annotation/>", picture="b")
    assert _kinds(read_annotations(tmp_path)) == ["unlabelled_picture"]


def test_mask_folders_that_lack_something(tmp_path):
    for name, pictures, masks in (("a", 1, 1), ("b", 2, 1), ("c", 0, 1), ("d", 1, 0), ("e", 1, 1)):
        (tmp_path / name / "images").mkdir(parents=True)
        for number in range(pictures):
            Image.new("RGB", (8, 8)).save(tmp_path / name / f"images/{number}.png")
        if masks:
            (tmp_path / name / "masks").mkdir()
    Image.new("L", (8, 8), 255).save(tmp_path / "a/masks/1.png")
    (tmp_path / "a/masks/2.png").write_bytes(b"no picture")
    (tmp_path / "a/masks/notes.txt").write_text("?")
    (tmp_path / "a/masks/link.png").symlink_to("nowhere")
    found = read_annotations(tmp_path)
    assert [(f.kind, f.where) for f in found.findings] == [
        ("broken_picture", f"{tmp_path}/a/masks/2.png"),
        ("broken_picture", f"{tmp_path}/a/masks/link.png"),
        ("broken_picture", f"{tmp_path}/a/masks/notes.txt"),
        ("bad_record", f"{tmp_path}/b"),
        ("bad_record", f"{tmp_path}/c"),
        ("bad_record", f"{tmp_path}/d"),
    ]
    assert [(p.listed, len(p.instances)) for p in found.pictures] == [(4, 1), (0, 0)]


def test_two_formats_in_a_folder_are_listed(tmp_path):
    _yolo(tmp_path, "")
    _labelme(tmp_path, [_shape()])
    with pytest.raises(DataError, match=r"data.yaml \(yolo\).*\(labelme\)"):
        read_annotations(tmp_path)
    assert read_annotations(tmp_path, "labelme").pictures


QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PLAIN = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@QUICK
@given(line=st.text(st.characters(codec="utf-8"), max_size=60) | st.lists(st.floats()).map(str))
def test_any_yolo_line_is_read_or_listed(line, tmp_path):
    (_yolo(tmp_path) / "labels/a.txt").write_text(line, encoding="utf-8")
    found = read_annotations(tmp_path)
    assert found.pictures[0].listed == len(found.pictures[0].instances) + len(found.findings)


@QUICK
@given(shape=PLAIN | st.fixed_dictionaries({"label": st.just("a"), "points": PLAIN, "shape_type": PLAIN}))
def test_any_labelme_shape_is_read_or_listed(shape, tmp_path):
    found = read_annotations(_labelme(tmp_path, [shape]))
    assert len(found.pictures[0].instances) + len(found.findings) == 1


@QUICK
@given(content=st.binary(max_size=80))
@pytest.mark.parametrize(
    "name", ["data.yaml", "labels/a.txt", "crowd.jsonl", "a.json", "Annotations/a.xml", "labelmap.txt"]
)
def test_any_bytes_make_no_crash(name, content, tmp_path):
    kind = {"a.json": "labelme", "Annotations/a.xml": "pascal_voc", "labelmap.txt": "pascal_voc"}.get(
        name, "yolo"
    )
    if kind == "yolo":
        _yolo(tmp_path)
    elif kind == "labelme":
        _labelme(tmp_path, [])
    else:
        _voc(tmp_path, np.ones((30, 40)), "<annotation/>")
    (tmp_path / name).write_bytes(content)
    with contextlib.suppress(MasklineError):
        read_annotations(tmp_path, kind)
