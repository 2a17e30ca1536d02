import json

import pytest

from maskline.annotations import read_annotations
from maskline.errors import DataError

RING = (10, 10, 50, 10, 50, 50)
PICTURES = [
    ("a.png", [("can", 0, [RING]), ("box", 1, [RING, (60, 60, 90, 60, 90, 90)])]),
    ("sub/a.png", [("can", 0, [RING])]),
    ("b c#%20?.png", []),
]


def kinds(found):
    return [f.kind for f in found.findings]


@pytest.mark.parametrize(
    ("file", "picture"),
    [
        ("data.json", "images/a.png"),
        ("annotations/data.json", "a.png"),
        ("annotations/data.json", "images/a.png"),
        ("annotations/instances_val.json", "val/a.png"),
        ("instances_val.json", "val/a.png"),
    ],
)
def test_where_pictures_are_looked_for(file, picture, tmp_path, write_coco):
    for name in (file, picture):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / picture).touch()
    write_coco(tmp_path, [("a.png", [])])
    (tmp_path / "data.json").rename(tmp_path / file)
    assert read_annotations(tmp_path / file, "coco").pictures[0].file == str(tmp_path / picture)


def test_absolute_paths_outside_the_data_are_refused(tmp_path, write_coco):
    folder = tmp_path / "set" / "annotations"
    folder.mkdir(parents=True)
    write_coco(folder, [(str(tmp_path / "a.png"), []), (str(tmp_path / "set" / "a.png"), [])])
    found = read_annotations(folder)
    assert kinds(found) == ["unsafe_path"]
    assert len(found.pictures) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": []}, "lists no images"),
        ({"images": None}, "no list of images"),
        ({"annotations": {}}, "no list of annotations"),
        ({"categories": "a"}, "no list of categories"),
    ],
)
def test_files_that_are_no_coco(change, message, tmp_path, write_coco):
    write_coco(tmp_path, PICTURES, **change)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path / "data.json", "coco")


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b"\xff\xfe", b"[" * 200_000, b"1" * 5000])
def test_files_that_are_no_json(text, tmp_path):
    (tmp_path / "data.json").write_bytes(text)
    with pytest.raises(DataError, match=r"data\.json"):
        read_annotations(tmp_path / "data.json", "coco")


def test_categories_with_one_name_are_one_class(tmp_path, write_coco):
    names = [
        {"id": 0, "name": "can"},
        {"id": 5, "name": "can"},
        {"id": 5, "name": "x"},
        {"id": 6},
        {"name": "y"},
    ]
    write_coco(tmp_path, [("a.png", [("can", 0, [RING])])], categories=names)
    found = read_annotations(tmp_path)
    assert found.classes == ("can",)
    assert kinds(found) == [
        "same_category",
        "bad_category",
        "bad_category",
        "bad_category",
        "unused_category",
    ]


def test_float_ids_are_ids(tmp_path, write_coco):
    write_coco(tmp_path, [("a.png", [("can", 0, [RING])])], categories=[{"id": 0.0, "name": "can"}])
    assert read_annotations(tmp_path).classes == ("can",)


def test_fruits(shared_data):
    found = read_annotations(shared_data / "fruits_nuts")
    assert (len(found.pictures), sum(p.listed for p in found.pictures)) == (18, 165)
    assert found.pictures[0].where.endswith("image 0")
    assert found.pictures[0].file == str(shared_data / "fruits_nuts/images/0.jpg")
    assert found.findings == []


def test_objects_of_a_category_that_was_refused_say_so(tmp_path, write_coco):
    names = [{"id": 0, "name": "can"}, {"id": 7, "name": " "}]
    write_coco(tmp_path, [("a.png", [("box", 0, [RING]), ("can", 0, [RING]), ("can", 0, [RING])])])
    data = json.loads((tmp_path / "data.json").read_text()) | {"categories": names}
    (tmp_path / "data.json").write_text(json.dumps(data))
    found = read_annotations(tmp_path)
    assert kinds(found) == ["bad_category"] * 3
    assert [f.lost for f in found.findings] == [0, 1, 1]
    assert found.findings[1].what == "category_id=7 has no name that can be used"
    assert found.classes == ("can",)


@pytest.mark.parametrize("segmentation", [[], None, {}])
def test_a_box_alone_is_told_of(segmentation, tmp_path, write_coco):
    write_coco(tmp_path, [("a.png", [("can", 0, [RING])])])
    data = json.loads((tmp_path / "data.json").read_text())
    data["annotations"][0] |= {"segmentation": segmentation, "bbox": [1, 1, 5, 5]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    (finding,) = [f for f in read_annotations(tmp_path).findings if f.lost]
    assert finding.kind == "bad_polygon"
    assert "a box alone has no mask to learn from" in finding.what


def test_whole_numbers_may_be_written_as_floats(tmp_path, write_coco):
    write_coco(tmp_path, [("a.png", [("can", 0, [RING])])])
    data = json.loads((tmp_path / "data.json").read_text())
    runs = {"size": [100.0, 100.0], "counts": [100.0, 50, 9850.0]}
    data["annotations"][0]["segmentation"] = runs
    (tmp_path / "data.json").write_text(json.dumps(data))
    shape = read_annotations(tmp_path).pictures[0].instances[0].shape
    assert (shape.height, shape.width, shape.counts) == (100, 100, (100, 50, 9850))


def test_a_mask_of_no_possible_size_is_refused(tmp_path, write_coco):
    write_coco(tmp_path, [("a.png", [("can", 0, [RING])])])
    data = json.loads((tmp_path / "data.json").read_text())
    data["annotations"][0]["segmentation"] = {"size": [10**30, 1], "counts": [10**30]}
    (tmp_path / "data.json").write_text(json.dumps(data))
    assert kinds(read_annotations(tmp_path)) == ["bad_rle"]


def test_parts_in_folders_are_named(tmp_path, write_coco):
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        write_coco(tmp_path / part, PICTURES)
    message = r"its folders do: train \(coco\), valid \(coco\); name one"
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path)
