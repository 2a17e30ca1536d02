"""The report is one file, whole and harmless, whatever the names in it."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from maskline.artifacts import TrialRecord
from maskline.components.evaluation.evaluate import evaluate, write_predictions
from maskline.components.evaluation.report import write_report
from maskline.components.onnx_export.parity import PictureParity, as_json
from maskline.dataset import PreparedDataset
from maskline.settings import complete

CHARTS = 9
HOSTILE = "<script>alert('x')</script>"
CLASSES = (HOSTILE, 'date "&" \u4e2d', "never seen")


class Page(HTMLParser):
    """Tags, their attributes, and the text between them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data + " "

    def sources(self):
        names = ("src", "srcset", "href", "data", "poster", "action")
        return [value for _, attrs in self.tags for name, value in attrs.items() if name in names]


def square(x, side):
    mask = np.zeros((120, 160), dtype=np.uint8, order="F")
    mask[10 : 10 + side, x : x + side] = 1
    found = rle.encode(mask)
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def thing(image, category, x, side, **more):
    mask = square(x, side)
    box = rle.toBbox(mask).tolist()
    return {"image_id": image, "category_id": category, "segmentation": mask, "bbox": box, **more}


def coco(folder, ids):
    images = []
    for number_ in ids:
        file = folder / f"{number_}<img src=x onerror=alert(1)>.png"
        Image.new("RGB", (160, 120), (90, 20 * number_, 60)).save(file)
        images.append({"id": number_, "file_name": str(file), "height": 120, "width": 160})
    objects = [
        thing(i, category, 60 * category - 50, 40, iscrowd=0, area=1600.0) for i in ids for category in (1, 2)
    ]
    return {
        "images": images,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, start=1)],
        "annotations": [{**one, "id": i} for i, one in enumerate(objects, start=1)],
    }


@pytest.fixture
def dataset(tmp_path):
    splits = {"train": range(1, 3), "validation": range(3, 5), "test": range(5, 8)}
    for split, ids in splits.items():
        (tmp_path / f"{split}.json").write_text(json.dumps(coco(tmp_path, ids)))
    finding = {"kind": "bad_ring", "where": HOSTILE, "what": "2 points", "action": "left out", "lost": 0}
    (tmp_path / "findings.jsonl").write_text((json.dumps(finding) + "\n") * 23)
    counts = {split: {"images": len(ids), "instances": 2 * len(ids)} for split, ids in splits.items()}
    return PreparedDataset(tmp_path, CLASSES, "ab" * 32, counts, 7, {"bad_ring": 23, "blank_line": 0})


TRIALS = [
    TrialRecord(0, "complete", 0.5, 2, {"learning_rate": 0.01}, 2, 2, 65.0, curve=((1, 0.2), (2, 0.5))),
    TrialRecord(1, "failed", None, None, {"learning_rate": 0.9}, 0, 2, 3.0, reason=HOSTILE),
]
JOB = {
    "display_name": HOSTILE,
    "environment_variables": {"TOKEN": "top-secret"},
    "training_data": {"path": "https://example.com/data"},
}


def write(dataset, predictions, split="test", trials=TRIALS, parity=None, **more):
    settings = complete(
        {"model_name": "maskrcnn_resnet18_fpn_light", "learning_rate": 0.01, "random_seed": 5, **more}
    )
    path = dataset.path / "out/report.html"
    write_predictions(path.parent, [predictions], 0.001)
    write_report(
        path,
        job=JOB,
        dataset=dataset,
        split=split,
        settings=settings,
        trials=trials,
        best=trials[0],
        evaluation=evaluate(path.parent, dataset, split, settings),
        validation={"epoch": 2, "mask_AP50": 0.75, "mask_AP_small": 0.1},
        parity=parity,
    )
    return path.read_text(encoding="utf-8")


@pytest.fixture
def html(dataset):
    return write(
        dataset,
        [thing(5, 1, 10, 40, score=0.9), thing(6, 2, 75, 40, score=0.8), thing(7, 1, 0, 9, score=0.1)],
    )


def test_nothing_comes_from_elsewhere(html):
    page = Page(html)
    assert page.sources()
    assert all(re.match(r"data:image/(jpeg|svg\+xml);base64,|#[a-z]+$", source) for source in page.sources())
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    assert "@import" not in html
    assert "url(" not in html
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]


def test_names_are_escaped(html):
    assert HOSTILE not in html
    assert "<img src=x" not in html
    text = Page(html).text
    for name in (*CLASSES, "5<img src=x onerror=alert(1)>.png"):
        assert name in text


def test_pictures_and_charts_are_inside(html):
    images = [attrs for tag, attrs in Page(html).tags if tag == "img"]
    assert len(images) == CHARTS + 2 * 3
    assert all(attrs["alt"] for attrs in images)
    for attrs in images:
        kind, data = attrs["src"].split(";base64,")
        content = base64.b64decode(data)
        if kind == "data:image/jpeg":
            assert Image.open(io.BytesIO(content)).size == (400, 300)
        else:
            assert b"<svg" in content
    assert len(html) < 1_000_000


def test_says_what_it_should(html, dataset):
    text = " ".join(Page(html).text.split())
    # Each class has three objects, and one is found before anything else: precision 1 at recalls 0 ... 0.33.
    assert f"{34 / 101:.3f} mask AP at IoU 0.50, the primary metric" in text
    assert "maskrcnn_resnet18_fpn_light" in text
    assert "trial 0, epoch 2" in text
    assert "the best of 2 trials, 1 of which gave no model" in text
    assert dataset.digest in text
    assert "The numbers come from the test split, by which no trial was trained or chosen." in text
    assert "23 × bad_ring." in text
    assert "3 more are in findings.jsonl" in text
    assert "The split was drawn with seed 7." in text
    assert "random_seed: 5" in text
    assert "Failed trials: 1" in text
    assert "Classes without an object in this split, which no score covers: never seen." in text
    assert "0.01 (0.005)" in text
    assert "top-secret" not in text
    assert "Values of environment variables are left out." in text


def test_validation_numbers_are_called_so(dataset):
    text = Page(write(dataset, [], "validation")).text
    assert "The numbers come from the validation split, by which the best trial" in text
    assert "The model detected nothing on this split." in text


def test_one_trial_that_was_not_measured_was_not_chosen(dataset):
    text = Page(write(dataset, [], "validation", TRIALS[:1], validation_metric_type="none")).text
    assert "from the validation split, by which no trial was trained and no epoch chosen." in text


def test_the_onnx_file_stands_in_a_report_that_is_made_again(html, dataset):
    assert 'id="onnx"' not in html
    picture = PictureParity(f"/pictures/{HOSTILE}5.png", 160, 120, 3, 1.5e-7, 2e-5, 0.9999)
    parity = {"score_threshold": 0.3, **as_json([picture])}
    text = Page(write(dataset, [], parity=parity)).text
    for shown in ("160 × 120", "1.5e-07", "2.0e-05", "0.9999", "score of at least 0.3"):
        assert shown in text


def test_test_scores_stand_beside_those_of_the_validation_split(html, dataset):
    assert 'id="test"' in html
    text = Page(html).text
    shown = text[text.index("difference") :]
    ours = evaluate(dataset.path / "out", dataset, "test", complete({})).numbers["mask"]["AP50"]
    assert f"{ours:.3f}" in shown[:300]
    assert "0.750" in shown[:300]
    assert f"{ours - 0.75:+.3f}" in shown[:300]
    assert 'id="test"' not in write(dataset, [], split="validation")


def test_scores_below_the_deployed_threshold_are_said_to_be(dataset):
    text = Page(write(dataset, [thing(5, 1, 10, 40, score=0.2)])).text
    assert "No detection reaches box_score_threshold=0.3" in text
    assert "1 found" not in text


def test_a_lost_picture_is_named(dataset):
    for image in dataset.path.glob("5*.png"):
        image.unlink()
    page = Page(write(dataset, []))
    assert "The picture can't be opened:" in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == CHARTS + 2 * 2


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (400, True)])
def test_in_a_browser(look, html, dataset, width, dark):
    seen = look(dataset.path / "out/report.html", width, dark=dark)
    assert seen.requests == [(dataset.path / "out/report.html").as_uri()]
    assert seen.complaints == []
    assert seen.pictures
    assert all(complete and own > 0 and boxes for complete, own, boxes in seen.pictures)
    assert seen.overflow == 0
    assert "difference" in seen.text
