"""What all readers promise."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskline.annotations import KINDS, read_annotations
from maskline.errors import DataError

FORMS = ("mltable", "azure_jsonl", "coco")
RING = (10, 10, 50, 10, 50, 50)
PICTURES = [
    ("a.png", [("can", 0, [RING]), ("box", 1, [RING, (60, 60, 90, 60, 90, 90)])]),
    ("sub/a.png", [("can", 0, [RING])]),
    ("b c#%20?.png", []),
]


@pytest.fixture(params=FORMS)
def form(request):
    return request.param


@pytest.fixture
def write(form, write_azure, write_coco):
    def written(folder, pictures=PICTURES):
        if form == "coco":
            write_coco(folder, pictures)
        else:
            write_azure(folder, pictures, table=form == "mltable")

    return written


def kinds(found):
    return [f.kind for f in found.findings]


# -- what all readers promise ------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [True, False])
def test_every_picture_and_object_is_read(form, named, tmp_path, write):
    write(tmp_path)
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


def test_the_kind_may_be_a_file(form, tmp_path, write):
    write(tmp_path)
    name = {"mltable": "MLTable", "azure_jsonl": "data.jsonl", "coco": "data.json"}[form]
    for kind in (form, "uri_file"):
        assert len(read_annotations(tmp_path / name, kind).pictures) == 3


def test_where_names_the_file(form, tmp_path, write):
    write(tmp_path)
    for picture in read_annotations(tmp_path).pictures:
        assert str(tmp_path) in picture.where
        assert all(str(tmp_path) in i.where for i in picture.instances)


def test_a_picture_that_stands_twice_is_united(form, tmp_path, write):
    write(tmp_path, [("a.png", [("can", 0, [RING])]), ("./a.png", [("can", 0, [RING])])])
    found = read_annotations(tmp_path)
    assert [(p.listed, len(p.instances)) for p in found.pictures] == [(2, 2)]
    assert kinds(found) == ["repeated_picture"]


@pytest.mark.parametrize(
    "name", ["s3://bucket/a.png", "azureml://x/datastores/y/paths/a.png", "https://h/a.png"]
)
def test_uris_are_kept_where_the_format_has_them(form, name, tmp_path, write):
    write(tmp_path, [(name, []), ("a.png", [("can", 0, [RING])])])
    found = read_annotations(tmp_path)
    if form == "coco":
        assert kinds(found) == ["remote_picture"]
        assert "use relative paths" in found.findings[0].what
    else:
        assert kinds(found) == []
        assert found.pictures[0].file == name


@pytest.mark.parametrize("name", ["../../a.png", "sub/../../../a.png", "azureml:../../a.png"])
def test_paths_that_leave_the_data_are_refused(form, name, tmp_path, write):
    write(tmp_path, [(name, []), ("a.png", [("can", 0, [RING])])])
    assert kinds(read_annotations(tmp_path)) == ["unsafe_path"]


@pytest.mark.parametrize(
    "name", [None, 3, "", "a\0b", ["a.png"], "x" * 300 + ".png", "d/" * 2000 + "a.png", "\ud800.png"]
)
def test_names_that_are_none_are_refused(form, name, tmp_path, write):
    write(tmp_path, [(name, []), ("a.png", [("can", 0, [RING])])])
    found = read_annotations(tmp_path)
    assert kinds(found) == ["bad_record"]
    assert [f.lost for f in found.findings] == [1]


def test_a_bad_object_is_refused_and_the_others_stay(form, tmp_path, write):
    write(tmp_path, [("a.png", [("can", 0, [RING]), ("can", 0, [(1, 2, 3)]), ("can", 0, [(1, 2, 3, 4)])])])
    found = read_annotations(tmp_path)
    assert kinds(found) == ["bad_polygon"] * 2
    assert [f.lost for f in found.findings] == [1, 1]
    assert [(p.listed, len(p.instances)) for p in found.pictures] == [(3, 1)]


@pytest.mark.parametrize("flag", [1, True, "true", "True", "1"])
def test_crowd_flags_that_are_set(form, flag, tmp_path, write):
    write(tmp_path, [("a.png", [("can", flag, [RING])])])
    assert read_annotations(tmp_path).pictures[0].instances[0].crowd


@pytest.mark.parametrize(
    ("flag", "listed"), [(0, 0), (False, 0), ("false", 0), (None, 0), ("yes", 1), ([], 1)]
)
def test_crowd_flags_that_are_not_set(form, flag, listed, tmp_path, write):
    write(tmp_path, [("a.png", [("can", flag, [RING])])])
    found = read_annotations(tmp_path)
    assert not found.pictures[0].instances[0].crowd
    assert kinds(found) == ["crowd_flag"] * listed


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_in_a_record_breaks_a_reader(form, tmp_path, data, write):
    keys = {
        "coco": ["id", "image_id", "category_id", "segmentation", "bbox", "iscrowd", "file_name", "width"],
        "jsonl": ["image_url", "image_details", "label", "polygon", "isCrowd"],
    }["coco" if form == "coco" else "jsonl"]
    junk = data.draw(st.dictionaries(st.sampled_from(keys), JSON, max_size=4))
    where = data.draw(st.sampled_from(["picture", "object"]))
    good = [("a.png", [("can", 0, [RING])])]
    write(tmp_path, good)
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


def test_two_candidates_are_an_error_that_lists_them(tmp_path, write_azure, write_coco):
    write_azure(tmp_path, PICTURES)
    write_coco(tmp_path, PICTURES)
    with pytest.raises(DataError, match=r"MLTable \(mltable\), data.json \(coco\); name the file") as caught:
        read_annotations(tmp_path)
    assert "data.jsonl" not in str(caught.value)
    assert read_annotations(tmp_path, "coco").pixel_units
    assert not read_annotations(tmp_path, "mltable").pixel_units


def test_other_json_files_are_no_candidates(tmp_path, write_coco):
    write_coco(tmp_path, PICTURES)
    (tmp_path / "package.json").write_text('{"images": 3}')
    assert len(read_annotations(tmp_path).pictures) == 3


def test_a_wrong_kind_says_what_is_there(tmp_path, write_coco):
    write_coco(tmp_path, PICTURES)
    with pytest.raises(DataError, match=r"nothing of type='mltable'; it holds data.json \(coco\)"):
        read_annotations(tmp_path, "mltable")


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("nowhere", "coco", "is not there"),
        (".", "voc", f"choose one of {', '.join(KINDS)}"),
        (".", "uri_folder", "known are an MLTable file"),
        ("s3://bucket/data", "uri_folder", "a URI, which"),
        ("azureml://x/paths/y", "mltable", "a URI, which"),
    ],
)
def test_paths_and_kinds_that_do_not_work(path, kind, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read_annotations(path, kind)


def test_file_and_azureml_paths(tmp_path, monkeypatch, write_coco):
    folder = tmp_path / "my data"
    folder.mkdir()
    write_coco(folder, PICTURES)
    monkeypatch.chdir(tmp_path)
    assert len(read_annotations("azureml:./my data").pictures) == 3
    assert len(read_annotations(folder.as_uri()).pictures) == 3


def test_odd_files(odd):
    with pytest.raises(DataError, match="bom_annotations.json lists no images"):
        read_annotations(odd / "bom_annotations.json", "uri_file")
    found = read_annotations(odd / "nan_annotations.json", "uri_file")
    assert "NaN" in found.findings[0].what
    with pytest.raises(DataError, match="more than one set .* odd.jsonl .* odd_annotations.json"):
        read_annotations(odd)
