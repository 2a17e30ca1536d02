"""What every reader promises, in one suite: a new one needs an entry in `annotation_forms.FORMS`."""

import json
import os
import time
from collections import Counter

import pytest
from annotation_forms import FORMS, HEIGHT, SET, WIDTH, paint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maskline.annotations import read_annotations
from maskline.annotations.formats import FORMATS
from maskline.components.data_preparation.check import check
from maskline.errors import DataError

DEFECTS = tuple(FORMS["coco"].defects)
NAMES = (
    "a#b%20c&d=?.png",
    "name with  spaces.png",
    "quote'\".png",
    "-dash.png",
    "trailing.dot..png",
    "UPPER.PNG",
    "名前_日本語.png",
    "émoji_😀.png",
    "cafe\u0301.png",
    "caf\u00e9.png",
    "n" * 200 + ".png",
)
QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=FORMATS)
def form(request):
    return request.param


@pytest.fixture
def written(form, tmp_path):
    """The folder of the small set in the form."""
    FORMS[form].write(tmp_path, SET)
    return tmp_path


def examine(folder, form, verify="scaled"):
    """Classes of the sound objects by the name of the picture, and the findings."""
    pictures, findings = check(read_annotations(folder, form), verify)
    names = {os.path.basename(p.file): tuple(o.label for o in p.objects) for p in pictures}
    assert len(names) == len(pictures)
    return names, findings


def test_every_reader_is_here():
    assert set(FORMS) == set(FORMATS)
    assert all(tuple(form.defects) == DEFECTS for form in FORMS.values())


def test_the_set_is_read_and_recognised(form, written):
    for kind in (form, "uri_folder"):
        assert examine(written, kind) == (SET, [])


@pytest.mark.parametrize("path", [".", "../{}", "./../{}/"])
def test_paths_may_be_relative(form, written, monkeypatch, path):
    monkeypatch.chdir(written)
    path = path.format(written.name)
    for kind in (form, "uri_folder"):
        assert examine(path, kind) == (SET, [])
    assert all(os.path.isabs(p.file) for p in read_annotations(path, form).pictures)


def test_a_picture_without_objects_is_background(form, written):
    found = read_annotations(written, form)
    (background,) = [p for p in found.pictures if p.file.endswith("c.png")]
    assert (background.instances, background.listed) == ([], 0)
    assert found.records == 6
    assert found.classes == ("box", "can")


def test_the_size_is_that_of_the_picture(form, written):
    pictures, _ = check(read_annotations(written, form))
    assert {(p.width, p.height) for p in pictures} == {(WIDTH, HEIGHT)}


def test_every_place_names_the_folder(form, written):
    for picture in read_annotations(written, form).pictures:
        assert all(str(written) in place for place in (picture.where, *(i.where for i in picture.instances)))


@pytest.mark.parametrize("pictures", [{}, {"a.png": ()}], ids=["nothing", "background only"])
def test_data_that_are_empty(form, pictures, tmp_path):
    FORMS[form].write(tmp_path, pictures)
    if pictures:
        assert examine(tmp_path, form) == ({"a.png": ()}, [])
        return
    with pytest.raises(
        DataError, match=r"nothing to learn from|holds nothing of type|is no folder|must hold"
    ):
        read_annotations(tmp_path, form)


def test_names_with_odd_characters(form, tmp_path):
    pictures = {name: ("can",) for name in NAMES}
    FORMS[form].write(tmp_path, pictures)
    names, findings = examine(tmp_path, form)
    assert findings == []
    assert names == pictures


def test_one_name_in_two_folders(form, tmp_path):
    if form == "pascal_voc":
        pytest.skip("pictures lie in one folder")
    FORMS[form].write(tmp_path, SET)
    other = {f"sub.dir/deep/{name}": labels for name, labels in SET.items()}
    if form == "labelme":
        (tmp_path / "sub.dir/deep").mkdir(parents=True)
    FORMS[form].write(tmp_path, {**SET, **other})
    found = read_annotations(tmp_path, form)
    assert len(found.pictures) == 6
    assert len({p.file for p in found.pictures}) == 6
    assert found.findings == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_listed_with_its_place_and_hides_nothing(form, defect, written):
    wanted = FORMS[form].defects[defect]
    if isinstance(wanted, str):
        pytest.skip(wanted)
    wanted.inject(written)
    names, findings = examine(written, form)
    assert SET.items() <= names.items()
    same = [f for f in findings if f.kind == wanted.kind]
    assert len(same) == 1, findings
    (finding,) = same
    assert str(written) in finding.where
    assert wanted.where in finding.where
    assert finding.what
    assert finding.action
    # Objects that are sound stay, and pictures that lost all their objects don't turn into background.
    assert names.get("d.png", ("can",)) == ("can",)
    lost = Counter(f.kind for f in findings if f.lost)
    assert sum(f.lost for f in findings) <= read_annotations(written, form).records + lost["no_object_left"]


def test_defects_of_all_kinds_at_once(form, written, tmp_path_factory):
    """Each defect's finding is there, whatever else is wrong: counts by kind add up."""
    wanted = [d for d in FORMS[form].defects.values() if not isinstance(d, str)]
    if form in ("azure_jsonl", "mltable"):
        for number, defect in enumerate(wanted):
            apart = tmp_path_factory.mktemp("apart")
            FORMS[form].write(apart, {})
            defect.inject(apart)
            text = (apart / "data.jsonl").read_text().strip("\n").replace('"d.png"', f'"d{number}.png"')
            paint(written / f"d{number}.png", number)
            with (written / "data.jsonl").open("a") as stream:
                stream.write(text + "\n")
    elif form == "labelme":
        for number, defect in enumerate(wanted):
            defect.inject(written)
            (written / "d.json").rename(written / f"d{number}.json")
            (written / "d.png").exists() and (written / "d.png").rename(written / f"d{number}.png")
            text = (written / f"d{number}.json").read_text().replace('"d.png"', f'"d{number}.png"')
            (written / f"d{number}.json").write_text(text)
    else:
        pytest.skip("its defects share one place; they are tried one by one")
    names, findings = examine(written, form)
    assert SET.items() <= names.items()
    kinds = Counter(f.kind for f in findings)
    for defect in wanted:
        if defect.kind != "broken_picture":
            assert kinds[defect.kind] >= 1, defect.kind


def test_a_byte_order_mark_does_no_harm(form, written):
    files = {file for pattern in FORMS[form].texts for file in written.glob(pattern)}
    assert files or form == "instance_masks"
    for file in files:
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert examine(written, form) == (SET, [])


def test_windows_line_ends_do_no_harm(form, written):
    for file in {file for pattern in FORMS[form].texts for file in written.glob(pattern)}:
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert examine(written, form) == (SET, [])


def test_what_systems_leave_behind_is_no_record(form, written):
    """A Mac writes ._NAME beside files on a foreign disk, and .DS_Store into folders."""
    for path in [written, *written.rglob("*")]:
        if path.is_dir():
            (path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
            (path / ".ipynb_checkpoints").mkdir()
        elif not path.name.startswith("."):
            path.with_name(f"._{path.name}").write_bytes(b"\0\5\x16\7")
    for kind in (form, "uri_folder"):
        assert examine(written, kind) == (SET, [])


def test_huge_texts_are_refused_by_their_size(form, written):
    huge = FORMS[form].huge
    if huge is None:
        pytest.skip("no text of its own, or one whose size has no bound")
    name, size = huge
    (written / name).parent.mkdir(exist_ok=True)
    if name.endswith(".jsonl"):
        with (written / name).open("ab") as stream:
            stream.write(b'{"image_url": "' + b"x" * size + b'"}\n')
    else:
        (written / name).touch()
        os.truncate(written / name, size)  # a hole: nothing is written
    began = time.process_time()
    found, told = _read(written, form)
    assert name in told
    assert found is None or any(p.file.endswith("b.png") for p in found.pictures)
    # No assertion on speed, but reading a gigabyte would take tens of seconds of this process.
    assert time.process_time() - began < 10


def _read(folder, form):
    """What was read, or None, and all that was said of it."""
    try:
        found = read_annotations(folder, form)
    except DataError as error:
        return None, str(error)
    return found, " ".join(map(str, found.findings))


def test_bombs_are_refused(form, written):
    if FORMS[form].bomb is None:
        pytest.skip("neither YAML nor XML")
    name, text = FORMS[form].bomb
    (written / name).parent.mkdir(exist_ok=True)
    (written / name).write_text(text)
    _, told = _read(written, form)
    assert name in told
    assert "aliases" in told or "entities" in told


# -- nothing breaks a reader ---------------------------------------------------------------------------------


def _told(folder, form):
    """Read and check; whatever is wrong is a DataError that names the data, or a finding that does."""
    found, told = _read(folder, form)
    if found is None:
        assert str(folder) in told
        return
    pictures, findings = check(found, "header")
    assert all(str(folder) in f.where for f in findings)
    assert all(f.what and f.action for f in findings)
    assert all(o.mask.area > 0 for p in pictures for o in p.objects)


@QUICK
@given(data=st.data())
def test_any_bytes_are_read_or_told_of(form, data, tmp_path):
    """A file of the set, of any kind, with bytes changed, cut out or put in."""
    FORMS[form].write(tmp_path, SET)
    files = sorted(p for p in tmp_path.rglob("*") if p.is_file())
    file = data.draw(st.sampled_from(files))
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = min(len(content), start + data.draw(st.integers(0, 12)))
        content[start:end] = data.draw(st.binary(max_size=12))
    file.write_bytes(content)
    _told(tmp_path, form)


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**70, -(2**70), 10**400, float("nan"), float("inf"), -0.0, 1e308])
    | st.text(max_size=5)
    | st.sampled_from(["\udce9", "\0", "../..", "http://h/a.png", "//", ".", "a" * 5000]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=5,
)


def _places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


def _replaced(value, path, new):
    if not path:
        return new
    value[path[0]] = _replaced(value[path[0]], path[1:], new)
    return value


@pytest.mark.parametrize("form", ["azure_jsonl", "coco", "labelme"])
@QUICK
@given(data=st.data())
def test_any_value_anywhere_in_json_is_read_or_told_of(form, data, tmp_path):
    FORMS[form].write(tmp_path, SET)
    file = tmp_path / {"azure_jsonl": "data.jsonl", "coco": "data.json", "labelme": "a.json"}[form]
    first, *rest = file.read_text().split("\n") if form == "azure_jsonl" else [file.read_text()]
    value = json.loads(first)
    for _ in range(data.draw(st.integers(1, 2))):
        place = data.draw(st.sampled_from(list(_places(value))))
        value = _replaced(value, place, data.draw(JUNK))
    file.write_text("\n".join([json.dumps(value), *rest]))
    _told(tmp_path, form)
