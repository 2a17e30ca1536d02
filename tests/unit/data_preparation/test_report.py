"""The data report tells the truth, and is one file made to be looked at."""

import json
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from maskline.components.data_preparation.describe import advice, describe
from maskline.components.data_preparation.inspect import inspect
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.components.data_preparation.report import SHOTS, write_report
from maskline.errors import DataError


def _rings(*boxes):
    return [[x1, y1, x2, y1, x2, y2, x1, y2] for x1, y1, x2, y2 in boxes]


def _counts(bins):
    return dict(zip(bins["from"], bins["counts"], strict=True))


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Two pictures to learn from and one to validate on, with objects whose sizes are known."""
    folder = tmp_path_factory.mktemp("known")
    for number, size in enumerate([(200, 100), (200, 100), (100, 100)]):
        noise = np.random.default_rng(number).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")

    def part(name, numbers, objects):
        sizes = [(200, 100), (200, 100), (100, 100)]
        data = {
            "images": [
                {"id": n, "file_name": f"{n}.png", "width": sizes[n][0], "height": sizes[n][1]}
                for n in numbers
            ],
            "annotations": [
                {
                    "id": i,
                    "image_id": image,
                    "category_id": category,
                    "segmentation": _rings(box),
                    "iscrowd": crowd,
                }
                for i, (image, category, box, crowd) in enumerate(objects)
            ],
            "categories": [{"id": 1, "name": "<b>can</b>"}, {"id": 2, "name": "box"}],
        }
        (folder / f"{name}.json").write_text(json.dumps(data))
        return Source(str(folder / f"{name}.json"))

    train = part(
        "train",
        [0, 1],
        [
            (0, 1, (10, 10, 20, 20), 0),  # 100 pixels: small; the root of 100 / 20,000 is 0.07
            (0, 1, (30, 10, 70, 50), 0),  # 1,600: medium; 0.28
            (0, 2, (80, 0, 200, 100), 0),  # 12,000: large; 0.77
            (0, 2, (0, 60, 60, 100), 1),
            (1, 1, (10, 10, 30, 15), 0),  # 100, four times as wide as high
        ],
    )
    validation = part("validation", [2], [(2, 1, (0, 0, 50, 50), 0), (2, 1, (60, 60, 61, 200), 0)])
    return prepare(train, validation, out=folder / "prepared")


def test_numbers_by_hand(known):
    found = describe(known)
    train, validation = found["splits"]["train"], found["splits"]["validation"]
    assert (train["pictures"], train["instances"], train["crowds"], train["background"]) == (2, 4, 1, 0)
    assert train["by_class"] == {
        "<b>can</b>": {"instances": 3, "pictures": 2},
        "box": {"instances": 1, "pictures": 1},
    }
    assert train["coco_sizes"] == {"small": 2, "medium": 1, "large": 1}
    assert validation["coco_sizes"] == {"small": 1, "medium": 1, "large": 0}
    assert train["sizes"] == [[200, 100, 2]]
    assert (train["widths"], validation["heights"]) == ([200, 200, 200], [100, 100, 100])
    counts = _counts(train["instances_per_picture"])
    assert {k: v for k, v in counts.items() if v} == {1: 1, 3: 1}
    sides = _counts(train["relative_sizes"])
    assert {k: v for k, v in sides.items() if v} == {0.04: 2, 0.16: 1, 0.64: 1}
    ratios = _counts(train["object_ratios"])
    assert {k: v for k, v in ratios.items() if v} == {1: 3, 4: 1}
    assert _counts(train["picture_ratios"])[2] == 2
    assert list(found["findings"]) == ["outside_coordinates", "unused_category"]
    clipped = found["findings"]["outside_coordinates"]
    assert (clipped["count"], clipped["lost"], clipped["actions"]) == (1, 0, {"clipped": 1})
    assert clipped["first"][0]["part"] == "validation"
    assert json.loads(json.dumps(found)) == found


def test_advice_names_classes_that_are_rare_or_absent(known):
    told = " ".join(advice(describe(known)))
    assert "Fewer than 10 objects to learn from: <b>can</b>, box." in told
    assert "Not in validation: box; no score of this part covers them." in told


def test_names_from_outside_are_text(known, tmp_path):
    write_report(known, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "<b>can</b>" not in page
    assert "&lt;b&gt;can&lt;/b&gt;" in page
    assert json.loads((known.path / "data_report.json").read_text())["splits"]["train"]["pictures"] == 2


@pytest.fixture(scope="module")
def crowded(shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("crowded")
    prepared = prepare(Source(str(shared_data / "coco_crowd")), out=folder)
    write_report(prepared, folder / "report.html")
    return folder / "report.html"


def test_the_same_pictures_are_drawn_each_time(crowded):
    page = crowded.read_text()
    sources = re.findall(r'(?:src|href|srcset)="([^"]*)"', page)
    assert len([s for s in sources if s.startswith("data:image/jpeg")]) == SHOTS
    assert all(s.startswith(("data:", "#")) for s in sources)
    again = crowded.with_name("again.html")
    from maskline.dataset import PreparedDataset

    write_report(PreparedDataset.read(crowded.parent), again)
    assert re.findall(r"data:[^\"]*", again.read_text()) == re.findall(r"data:[^\"]*", page)


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1280, False)])
def test_it_can_be_looked_at(crowded, look, width, dark):
    seen = look(crowded, width, dark=dark)
    assert seen.requests == [crowded.as_uri()]
    assert seen.complaints == []
    assert len(seen.pictures) == SHOTS
    assert all(complete and own > 0 and boxes for complete, own, boxes in seen.pictures)
    assert seen.overflow <= 0
    assert seen.background == ("rgb(15, 19, 24)" if dark else "rgb(255, 255, 255)")
    assert "unused_category" in seen.text


def test_a_picture_that_is_gone_is_shown_as_the_reason(tmp_path, write_lines):
    prepared = prepare(write_lines(tmp_path / "data", {"a.png": ["x"], "b.png": ["x"]}), out=tmp_path / "out")
    (tmp_path / "data" / "a.png").unlink()
    write_report(prepared, tmp_path / "report.html")
    assert "a.png&#39; is not there" in (tmp_path / "report.html").read_text()


# -- without a job -----------------------------------------------------------------------------------------


def test_inspect_reports_sound_data(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {f"{i}.png": ["x"] for i in range(10)})
    outputs = [tmp_path / f"new/a{suffix}" for suffix in (".html", ".json", ".jsonl")]
    found = inspect(source, outputs)
    assert found.problems == ()
    assert {n: s["pictures"] for n, s in found.described["splits"].items()} == {"train": 8, "validation": 2}
    assert all(output.is_file() for output in outputs)
    assert json.loads(outputs[1].read_text())["splits"] == found.described["splits"]


def test_inspect_reports_what_it_can_of_unsound_data(odd, tmp_path):
    found = inspect(Source(str(odd / "odd_annotations.json")), [tmp_path / "a.html"])
    (problem,) = found.problems
    assert "13 of 21 records can't be used" in problem
    assert "maskline-inspect" not in problem
    assert found.described["splits"]["train"]["instances"] == 4
    assert sum(kind["lost"] for kind in found.described["findings"].values()) == 13
    assert "13 of 21 records can&#39;t be used" in (tmp_path / "a.html").read_text()


def test_inspect_of_data_without_a_sound_picture(tmp_path, write_lines):
    found = inspect(write_lines(tmp_path / "data", {"missing.png": ["x"]}), [tmp_path / "a.html"])
    assert len(found.problems) == 1
    assert found.described["splits"]["train"]["pictures"] == 0
    assert (tmp_path / "a.html").is_file()


def test_inspect_looks_into_archives(shared_data, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(shared_data / "fruits_nuts", "fruits_nuts")
    found = inspect(Source(str(tmp_path / "a.tar")), [tmp_path / "a.html"])
    assert found.problems == ()
    assert sum(split["pictures"] for split in found.described["splits"].values()) == 18
    page = (tmp_path / "a.html").read_text()
    assert "can&#39;t be opened" not in page
    assert "maskline-inspect-" not in page


def test_inspect_refuses_other_outputs(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {"a.png": ["x"]})
    with pytest.raises(DataError, match="--output .*a.pdf must end in one of .html, .json, .jsonl"):
        inspect(source, [tmp_path / "a.pdf"])
