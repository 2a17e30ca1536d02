"""What all readers promise, and what each promises alone."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskline.annotations import KINDS, read_annotations
from maskline.errors import DataError

TABLE = "paths:\n  - file: ./data.jsonl\ntransformations:\n  - read_json_lines:\n      encoding: utf8\n"


def azure_record(picture, objects, **more):
    labels = [
        {"label": label, "isCrowd": crowd, "polygon": [[v / 100 for v in ring] for ring in rings]}
        for label, crowd, rings in objects
    ]
    details = {"width": 100, "height": 100}
    return {"image_url": picture, "image_details": details, "label": labels, **more}


def write_azure(folder, pictures, *, table=True):
    lines = [json.dumps(azure_record(name, objects)) for name, objects in pictures]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    if table:
        (folder / "MLTable").write_text(TABLE)


def write_coco(folder, pictures, **changes):
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


WRITERS = {
    "mltable": write_azure,
    "azure_jsonl": lambda f, p: write_azure(f, p, table=False),
    "coco": write_coco,
}
RING = (10, 10, 50, 10, 50, 50)
PICTURES = [
    ("a.png", [("can", 0, [RING]), ("box", 1, [RING, (60, 60, 90, 60, 90, 90)])]),
    ("sub/a.png", [("can", 0, [RING])]),
    ("b c#%20?.png", []),
]


@pytest.fixture(params=list(WRITERS))
def form(request):
    return request.param


def write(form, folder, pictures=PICTURES):
    WRITERS[form](folder, pictures)


def kinds(found):
    return [f.kind for f in found.findings]


# -- what all readers promise ------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_every_picture_and_object_is_read(form, named, tmp_path):
    write(form, tmp_path)
    found = read_annotations(tmp_path, form if named else "uri_folder")
    assert [p.file for p in found.pictures] == [str(tmp_path / name) for name, _ in PICTURES]
    assert [[(i.label, i.crowd) for i in p.instances] for p in found.pictures] == [
        [(label, bool(crowd)) for label, crowd, _ in objects] for _, objects in PICTURES
    ]
    assert [len(i.shape.rings) for i in found.pictures[0].instances] == [1, 2]
    assert [p.listed for p in found.pictures] == [2, 1, 0]
    assert {(p.width, p.height) for p in found.pictures} == {(100, 100)}
    assert found.classes == ("box", "can")
    assert found.records == 6
    assert found.findings == []


def test_the_kind_may_be_a_file(form, tmp_path):
    write(form, tmp_path)
    name = {"mltable": "MLTable", "azure_jsonl": "data.jsonl", "coco": "data.json"}[form]
    for kind in (form, "uri_file"):
        assert len(read_annotations(tmp_path / name, kind).pictures) == 3


def test_where_names_the_file(form, tmp_path):
    write(form, tmp_path)
    for picture in read_annotations(tmp_path).pictures:
        assert str(tmp_path) in picture.where
        assert all(str(tmp_path) in i.where for i in picture.instances)


def test_a_picture_that_stands_twice_is_united(form, tmp_path):
    write(form, tmp_path, [("a.png", [("can", 0, [RING])]), ("./a.png", [("can", 0, [RING])])])
    found = read_annotations(tmp_path)
    assert [(p.listed, len(p.instances)) for p in found.pictures] == [(2, 2)]
    assert kinds(found) == ["repeated_picture"]


@pytest.mark.parametrize(
    "name", ["s3://bucket/a.png", "azureml://x/datastores/y/paths/a.png", "https://h/a.png"]
)
def test_urls_are_refused_with_a_remedy(form, name, tmp_path):
    write(form, tmp_path, [(name, []), ("a.png", [("can", 0, [RING])])])
    found = read_annotations(tmp_path)
    assert kinds(found) == ["remote_picture"]
    assert "download the pictures and use relative paths" in found.findings[0].what


@pytest.mark.parametrize("name", ["../../a.png", "sub/../../../a.png", "azureml:../../a.png"])
def test_paths_that_leave_the_data_are_refused(form, name, tmp_path):
    write(form, tmp_path, [(name, []), ("a.png", [("can", 0, [RING])])])
    assert kinds(read_annotations(tmp_path)) == ["unsafe_path"]


@pytest.mark.parametrize("name", [None, 3, "", "a\0b", ["a.png"]])
def test_names_that_are_none_are_refused(form, name, tmp_path):
    write(form, tmp_path, [(name, []), ("a.png", [("can", 0, [RING])])])
    found = read_annotations(tmp_path)
    assert kinds(found) == ["bad_record"]
    assert [f.lost for f in found.findings] == [1]


def test_a_bad_object_is_refused_and_the_others_stay(form, tmp_path):
    write(
        form, tmp_path, [("a.png", [("can", 0, [RING]), ("can", 0, [(1, 2, 3)]), ("can", 0, [(1, 2, 3, 4)])])]
    )
    found = read_annotations(tmp_path)
    assert kinds(found) == ["bad_polygon"] * 2
    assert [f.lost for f in found.findings] == [1, 1]
    assert [(p.listed, len(p.instances)) for p in found.pictures] == [(3, 1)]


@pytest.mark.parametrize("flag", [1, True, "true", "True", "1"])
def test_crowd_flags_that_are_set(form, flag, tmp_path):
    write(form, tmp_path, [("a.png", [("can", flag, [RING])])])
    assert read_annotations(tmp_path).pictures[0].instances[0].crowd


@pytest.mark.parametrize(
    ("flag", "listed"), [(0, 0), (False, 0), ("false", 0), (None, 0), ("yes", 1), ([], 1)]
)
def test_crowd_flags_that_are_not_set(form, flag, listed, tmp_path):
    write(form, tmp_path, [("a.png", [("can", flag, [RING])])])
    found = read_annotations(tmp_path)
    assert not found.pictures[0].instances[0].crowd
    assert kinds(found) == ["crowd_flag"] * listed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_in_a_record_breaks_a_reader(form, tmp_path, data):
    keys = {
        "coco": ["id", "image_id", "category_id", "segmentation", "bbox", "iscrowd", "file_name", "width"],
        "jsonl": ["image_url", "image_details", "label", "polygon", "isCrowd"],
    }["coco" if form == "coco" else "jsonl"]
    junk = data.draw(st.dictionaries(st.sampled_from(keys), JSON, max_size=4))
    where = data.draw(st.sampled_from(["picture", "object"]))
    good = [("a.png", [("can", 0, [RING])])]
    write(form, tmp_path, good)
    if form == "coco":
        content = json.loads((tmp_path / "data.json").read_text())
        content["images" if where == "picture" else "annotations"] += [junk, data.draw(JSON)]
        (tmp_path / "data.json").write_text(json.dumps(content))
    else:
        label = [junk] if where == "object" else []
        record = {"image_url": "b.png", "label": label} if where == "object" else junk
        with (tmp_path / "data.jsonl").open("a") as stream:
            stream.write(json.dumps(record) + "\n" + json.dumps(data.draw(JSON)) + "\n")
    found = read_annotations(tmp_path)
    assert found.pictures[0].instances
    assert sum(f.lost for f in found.findings) <= found.records


# -- which format ------------------------------------------------------------------------------------------


def test_two_candidates_are_an_error_that_lists_them(tmp_path):
    write_azure(tmp_path, PICTURES)
    write_coco(tmp_path, PICTURES)
    with pytest.raises(DataError, match=r"MLTable \(mltable\), data.json \(coco\); name the file") as caught:
        read_annotations(tmp_path)
    assert "data.jsonl" not in str(caught.value)
    assert read_annotations(tmp_path, "coco").pixel_units
    assert not read_annotations(tmp_path, "mltable").pixel_units


def test_other_json_files_are_no_candidates(tmp_path):
    write_coco(tmp_path, PICTURES)
    (tmp_path / "package.json").write_text('{"images": 3}')
    assert len(read_annotations(tmp_path).pictures) == 3


def test_a_wrong_kind_says_what_is_there(tmp_path):
    write_coco(tmp_path, PICTURES)
    with pytest.raises(DataError, match=r"nothing of type='mltable'; it holds data.json \(coco\)"):
        read_annotations(tmp_path, "mltable")


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("nowhere", "coco", "is not there"),
        (".", "voc", f"choose one of {', '.join(KINDS)}"),
        (".", "uri_folder", "known are an MLTable file"),
        ("s3://bucket/data", "uri_folder", "URL that can't be read yet"),
        ("azureml://x/paths/y", "mltable", "URL that can't be read yet"),
    ],
)
def test_paths_and_kinds_that_do_not_work(path, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read_annotations(path, kind)


def test_file_and_azureml_paths(tmp_path, monkeypatch):
    folder = tmp_path / "my data"
    folder.mkdir()
    write_coco(folder, PICTURES)
    monkeypatch.chdir(tmp_path)
    assert len(read_annotations("azureml:./my data").pictures) == 3
    assert len(read_annotations(folder.as_uri()).pictures) == 3


# -- Azure -------------------------------------------------------------------------------------------------


def write_lines(folder, *lines):
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "data.jsonl").write_bytes(b"\n".join(encoded) + b"\n")


def read_lines(folder, *lines):
    write_lines(folder, *lines)
    return read_annotations(folder)


def test_findings_carry_line_numbers(tmp_path):
    good = azure_record("a.png", [("can", 0, [RING])])
    found = read_lines(tmp_path, good, b"", b'{"image_url": ', b"[1]", good | {"label": 3}, b"\xff{}")
    assert [(f.kind, f.where.rsplit(":", 1)[1]) for f in found.findings] == [
        ("blank_line", "2"),
        ("bad_line", "3"),
        ("bad_line", "4"),
        ("bad_record", "5"),
        ("bad_line", "6"),
    ]
    assert found.records == 6


@pytest.mark.parametrize("name", ["", " ", None, 1.5, True, [], "\udce9"])
def test_labels_that_are_none(name, tmp_path):
    record = azure_record("a.png", [("can", 0, [RING]), (name, 0, [RING])])
    found = read_lines(tmp_path, record)
    assert kinds(found) == ["bad_label"]
    assert found.findings[0].where.endswith("data.jsonl:1 object 2")


def test_integers_name_classes_by_their_digits(tmp_path):
    found = read_lines(tmp_path, azure_record("a.png", [(7, 0, [RING]), ("07", 0, [RING])]))
    assert found.classes == ("07", "7")


def test_an_object_with_a_box_only_is_refused(tmp_path):
    record = {
        "image_url": "a.png",
        "label": [{"label": "can", "topX": 0, "topY": 0, "bottomX": 1, "bottomY": 1}],
    }
    found = read_lines(tmp_path, record)
    assert (kinds(found), "box alone" in found.findings[0].what) == (["bad_polygon"], True)


def test_the_label_column_is_named_when_it_is_wrong(tmp_path):
    write_lines(tmp_path, azure_record("a.png", []))
    with pytest.raises(DataError, match="no record has 'lable'; set target_column_name to one of .*label"):
        read_annotations(tmp_path, "azure_jsonl", "lable")


def test_another_label_column(tmp_path):
    record = azure_record("a.png", [("can", 0, [RING])])
    record["target"] = record.pop("label")
    write_lines(tmp_path, record)
    assert read_annotations(tmp_path, "azure_jsonl", "target").classes == ("can",)


@pytest.mark.parametrize(
    ("value", "side"), [("400px", 400), (400, 400), ("400", 400), (400.0, 400), (None, None)]
)
def test_declared_sizes(value, side, tmp_path):
    record = azure_record("a.png", []) | {"image_details": {"width": value}}
    assert read_lines(tmp_path, record).pictures[0].width == side


def test_absolute_and_file_paths(tmp_path):
    picture = tmp_path / "a#1 b.png"
    found = read_lines(
        tmp_path,
        azure_record(str(picture), []),
        azure_record("azureml:sub/a.png", []),
        azure_record((tmp_path / "other" / "x y.png").as_uri(), []),
    )
    names = [str(picture), str(tmp_path / "sub/a.png"), str(tmp_path / "other/x y.png")]
    assert [p.file for p in found.pictures] == names


def test_a_byte_order_mark_is_passed_over(tmp_path):
    line = b"\xef\xbb\xbf" + json.dumps(azure_record("a.png", [])).encode()
    assert read_lines(tmp_path, line).findings == []


def test_a_line_that_is_too_long_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("maskline.annotations.azure_jsonl.LONGEST_LINE", 1000)
    good = azure_record("a.png", [("can", 0, [RING])])
    found = read_lines(tmp_path, good, b'"' + b"x" * 5000 + b'"', good | {"image_url": "b.png"})
    assert [(f.kind, f.where.rsplit(":", 1)[1]) for f in found.findings] == [("bad_line", "2")]
    assert len(found.pictures) == 2


def test_deep_json_is_refused(tmp_path):
    found = read_lines(tmp_path, azure_record("a.png", []), b'{"label":' + b"[" * 200_000)
    assert kinds(found) == ["bad_line"]


# -- MLTable -----------------------------------------------------------------------------------------------


def test_invalid_lines_error_is_honoured(tmp_path):
    write_azure(tmp_path, PICTURES)
    (tmp_path / "MLTable").write_text(TABLE + "      invalid_lines: error\n")
    assert len(read_annotations(tmp_path).pictures) == 3
    with (tmp_path / "data.jsonl").open("a") as stream:
        stream.write("{cut\n")
    with pytest.raises(DataError, match="invalid_lines: error: .*data.jsonl:4: no JSON"):
        read_annotations(tmp_path)


def test_several_files_and_patterns(tmp_path):
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(azure_record(f"{name}.png", [])) + "\n")
    (tmp_path / "MLTable").write_text(TABLE.replace("file: ./data.jsonl", 'pattern: "./t*.jsonl"'))
    assert [os.path.basename(p.file) for p in read_annotations(tmp_path).pictures] == ["three.png", "two.png"]
    (tmp_path / "MLTable").write_text(TABLE.replace("file: ./data.jsonl", "folder: ./"))
    assert len(read_annotations(tmp_path).pictures) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a", "must be a YAML mapping"),
        ("a: [", "can't be read as YAML"),
        ("a: !!python/object/apply:os.getcwd []", "can't be read as YAML"),
        ("a: &x [1]\nb: [*x, *x]", "aliases"),
        ("transformations: []", "paths=None must list the data"),
        (TABLE.replace("data.jsonl", "other.jsonl"), "names no file below"),
        (TABLE.replace("./data.jsonl", "../data.jsonl"), "must be a relative path below"),
        (TABLE.replace("./data.jsonl", "azureml://x/y.jsonl"), "must be a relative path below"),
        (TABLE + "  - take: 3\n", "transformation 'take' is not supported"),
        (TABLE.replace("utf8", "klingon"), "encoding='klingon' is unknown"),
        (TABLE + "      invalid_lines: maybe\n", "invalid_lines='maybe' must be error or drop"),
        (TABLE + "  - convert_column_types: [{columns: a, column_type: int}]\n", "only stream_info is"),
        ("paths:\n  - file: ./data.jsonl\n", "must hold read_json_lines"),
    ],
)
def test_tables_that_are_refused(text, message, tmp_path):
    write_azure(tmp_path, PICTURES)
    (tmp_path / "MLTable").write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path, "mltable")


# -- COCO --------------------------------------------------------------------------------------------------


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
def test_where_pictures_are_looked_for(file, picture, tmp_path):
    for name in (file, picture):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / picture).touch()
    write_coco(tmp_path, [("a.png", [])])
    (tmp_path / "data.json").rename(tmp_path / file)
    assert read_annotations(tmp_path / file, "coco").pictures[0].file == str(tmp_path / picture)


def test_absolute_paths_outside_the_data_are_refused(tmp_path):
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
def test_files_that_are_no_coco(change, message, tmp_path):
    write_coco(tmp_path, PICTURES, **change)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path / "data.json", "coco")


@pytest.mark.parametrize("text", [b"", b"[", b"[]", b"\xff\xfe", b"[" * 200_000, b"1" * 5000])
def test_files_that_are_no_json(text, tmp_path):
    (tmp_path / "data.json").write_bytes(text)
    with pytest.raises(DataError, match=r"data\.json"):
        read_annotations(tmp_path / "data.json", "coco")


def test_categories_with_one_name_are_one_class(tmp_path):
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


def test_float_ids_are_ids(tmp_path):
    write_coco(tmp_path, [("a.png", [("can", 0, [RING])])], categories=[{"id": 0.0, "name": "can"}])
    assert read_annotations(tmp_path).classes == ("can",)


def test_fruits(shared_data):
    found = read_annotations(shared_data / "fruits_nuts")
    assert (len(found.pictures), sum(p.listed for p in found.pictures)) == (18, 165)
    assert found.pictures[0].where.endswith("image 0")
    assert found.pictures[0].file == str(shared_data / "fruits_nuts/images/0.jpg")
    assert found.findings == []


def test_odd_lines(odd):
    found = read_annotations(odd / "odd.jsonl", "uri_file")
    listed = {int(f.where.rsplit(":", 1)[1].split()[0]): f.kind for f in found.findings}
    assert listed == {
        2: "blank_line",
        3: "bad_line",
        4: "repeated_picture",
        5: "repeated_picture",
        7: "bad_label",
        8: "bad_line",
    }


def test_odd_files(odd):
    with pytest.raises(DataError, match="bom_annotations.json lists no images"):
        read_annotations(odd / "bom_annotations.json", "uri_file")
    found = read_annotations(odd / "nan_annotations.json", "uri_file")
    assert "NaN" in found.findings[0].what
    with pytest.raises(DataError, match="more than one set .* odd.jsonl .* odd_annotations.json"):
        read_annotations(odd)
