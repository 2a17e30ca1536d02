import json
import os

import pytest

from maskline.annotations import read_annotations
from maskline.errors import DataError

TABLE = "paths:\n  - file: ./data.jsonl\ntransformations:\n  - read_json_lines:\n      encoding: utf8\n"
RING = (10, 10, 50, 10, 50, 50)
PICTURES = [
    ("a.png", [("can", 0, [RING]), ("box", 1, [RING, (60, 60, 90, 60, 90, 90)])]),
    ("sub/a.png", [("can", 0, [RING])]),
    ("b c#%20?.png", []),
]


def kinds(found):
    return [f.kind for f in found.findings]


def write_lines(folder, *lines):
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (folder / "data.jsonl").write_bytes(b"\n".join(encoded) + b"\n")


def read_lines(folder, *lines):
    write_lines(folder, *lines)
    return read_annotations(folder)


def test_findings_carry_line_numbers(tmp_path, azure_record):
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
def test_labels_that_are_none(name, tmp_path, azure_record):
    record = azure_record("a.png", [("can", 0, [RING]), (name, 0, [RING])])
    found = read_lines(tmp_path, record)
    assert kinds(found) == ["bad_label"]
    assert found.findings[0].where.endswith("data.jsonl:1 object 2")


def test_integers_name_classes_by_their_digits(tmp_path, azure_record):
    found = read_lines(tmp_path, azure_record("a.png", [(7, 0, [RING]), ("07", 0, [RING])]))
    assert found.classes == ("07", "7")


def test_an_object_with_a_box_only_is_refused(tmp_path):
    record = {
        "image_url": "a.png",
        "label": [{"label": "can", "topX": 0, "topY": 0, "bottomX": 1, "bottomY": 1}],
    }
    found = read_lines(tmp_path, record)
    assert (kinds(found), "box alone" in found.findings[0].what) == (["bad_polygon"], True)


def test_the_label_column_is_named_when_it_is_wrong(tmp_path, azure_record):
    write_lines(tmp_path, azure_record("a.png", []))
    with pytest.raises(DataError, match="no record has 'lable'; set target_column_name to one of .*label"):
        read_annotations(tmp_path, "azure_jsonl", "lable")


def test_another_label_column(tmp_path, azure_record):
    record = azure_record("a.png", [("can", 0, [RING])])
    record["target"] = record.pop("label")
    write_lines(tmp_path, record)
    assert read_annotations(tmp_path, "azure_jsonl", "target").classes == ("can",)


@pytest.mark.parametrize(
    ("value", "side"), [("400px", 400), (400, 400), ("400", 400), (400.0, 400), (None, None)]
)
def test_declared_sizes(value, side, tmp_path, azure_record):
    record = azure_record("a.png", []) | {"image_details": {"width": value}}
    assert read_lines(tmp_path, record).pictures[0].width == side


def test_absolute_and_file_paths(tmp_path, azure_record):
    picture = tmp_path / "a#1 b.png"
    found = read_lines(
        tmp_path,
        azure_record(str(picture), []),
        azure_record("azureml:sub/a.png", []),
        azure_record((tmp_path / "other" / "x y.png").as_uri(), []),
    )
    names = [str(picture), str(tmp_path / "sub/a.png"), str(tmp_path / "other/x y.png")]
    assert [p.file for p in found.pictures] == names


def test_a_byte_order_mark_is_passed_over(tmp_path, azure_record):
    line = b"\xef\xbb\xbf" + json.dumps(azure_record("a.png", [])).encode()
    assert read_lines(tmp_path, line).findings == []


def test_a_line_that_is_too_long_is_refused(tmp_path, monkeypatch, azure_record):
    monkeypatch.setattr("maskline.annotations.azure_jsonl.LONGEST_LINE", 1000)
    good = azure_record("a.png", [("can", 0, [RING])])
    found = read_lines(tmp_path, good, b'"' + b"x" * 5000 + b'"', good | {"image_url": "b.png"})
    assert [(f.kind, f.where.rsplit(":", 1)[1]) for f in found.findings] == [("bad_line", "2")]
    assert len(found.pictures) == 2


def test_deep_json_is_refused(tmp_path, azure_record):
    found = read_lines(tmp_path, azure_record("a.png", []), b'{"label":' + b"[" * 200_000)
    assert kinds(found) == ["bad_line"]


# -- MLTable -----------------------------------------------------------------------------------------------


def test_invalid_lines_error_is_honoured(tmp_path, write_azure):
    write_azure(tmp_path, PICTURES)
    (tmp_path / "MLTable").write_text(TABLE + "      invalid_lines: error\n")
    assert len(read_annotations(tmp_path).pictures) == 3
    with (tmp_path / "data.jsonl").open("a") as stream:
        stream.write("{cut\n")
    with pytest.raises(DataError, match="invalid_lines: error: .*data.jsonl:4: no JSON"):
        read_annotations(tmp_path)


def test_several_files_and_patterns(tmp_path, azure_record):
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
def test_tables_that_are_refused(text, message, tmp_path, write_azure):
    write_azure(tmp_path, PICTURES)
    (tmp_path / "MLTable").write_text(text)
    with pytest.raises(DataError, match=message):
        read_annotations(tmp_path, "mltable")


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
