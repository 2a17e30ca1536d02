"""Every row of the odd pictures' README, one by one, from the file to the prepared data."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maskline.annotations import read_annotations
from maskline.components.data_preparation.check import check
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.pictures import open_upright

USUAL = (320, 240)
SAME = (
    *(f"exif_orient_{number}.jpg" for number in range(1, 9)),
    *("cmyk.jpg", "gray.jpg", "progressive.jpg", "ycbcr_444.jpg", "gray16.png", "gray16_12bit.png"),
    *("gray16.tif", "palette.png", "palette_transparent.png", "bilevel.png", "rgba.png", "la.png"),
    *("pic.webp", "lossless.webp", "pic.bmp", "pic.tif", "multiframe.tif", "animated.gif", "float32.tif"),
    *("png_named.jpg", "icc_p3.jpg", "name with  spaces.jpg", "名前_日本語.jpg", "émoji_😀.jpg", "UPPER.JPG"),
    *("a#b%20c&d=?.jpg", "quote'\".jpg", "-dash.jpg", "trailing.dot..jpg", "n" * 200 + ".jpg"),
    *("cafe\u0301_nfd.jpg", "caf\u00e9_nfc.jpg", "same.jpg", "sub.dir/deep/same.jpg", "link.jpg"),
)
"""Files that show the one picture, upright 320 x 240, in whatever way."""
SIZES = {
    "tiny_1x1.png": (1, 1),
    "tiny_1x64.png": (1, 64),
    "tiny_64x1.png": (64, 1),
    "tiny_2x2.png": (2, 2),
    "tiny_7x5.png": (7, 5),
    "wide_2000x20.png": (2000, 20),
    "tall_20x2000.png": (20, 2000),
}
HARDEST = ("tiny_1x1.png", "tiny_1x64.png", "wide_2000x20.png")
REFUSED = {
    "truncated.jpg": "truncated",
    "truncated.png": "truncated",
    "bad_crc.png": "broken data stream",
    "empty.jpg": "its format is none of",
    "html_as.jpg": "its format is none of",
    "huge_header_60000x60000.png": "too large to be opened",
    "bomb_12000x12000.png": "12000x12000 pixels, more than",
}
ANNOTATIONS = {"odd_annotations.json", "nan_annotations.json", "bom_annotations.json", "odd.jsonl"}
"""Their rows are tried in test_real_data.py."""


def look(picture, folder, verify="scaled"):
    """One picture with one object over its whole, checked: the picture or None, and the findings."""
    whole = [0, 0, 1, 0, 1, 1, 0, 1]
    record = {"image_url": os.fspath(picture), "label": [{"label": "x", "polygon": [whole]}]}
    (folder / "one.jsonl").write_text(json.dumps(record))
    pictures, findings = check(read_annotations(folder / "one.jsonl", "azure_jsonl"), verify)
    return (pictures[0] if pictures else None), findings


def grey(path):
    small = open_upright(path).convert("L").resize((32, 24), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).ravel()


def test_every_file_has_a_row(odd):
    files = {str(p.relative_to(odd)) for p in odd.rglob("*") if p.is_file()}
    assert files == {*SAME, *SIZES, *REFUSED, *ANNOTATIONS}


@pytest.mark.parametrize("name", SAME)
def test_the_one_picture_in_every_way(odd, name, tmp_path):
    picture, findings = look(odd / name, tmp_path, "full")
    assert findings == []
    assert (picture.width, picture.height) == USUAL
    assert picture.objects[0].mask.area == 320 * 240
    image = open_upright(odd / name)
    assert (image.mode, image.size) == ("RGB", USUAL)
    ours, truth = grey(odd / name), grey(odd / "same.jpg")
    assert np.corrcoef(ours, truth)[0, 1] > 0.99
    assert abs(ours.mean() - truth.mean()) < 1


@pytest.mark.parametrize("name", SIZES)
def test_degenerate_sizes_are_prepared(odd, name, tmp_path):
    picture, findings = look(odd / name, tmp_path, "full")
    assert findings == []
    assert (picture.width, picture.height) == SIZES[name]
    assert picture.objects[0].mask.area == picture.width * picture.height


def test_degenerate_sizes_are_trained_on_and_predicted(odd, tmp_path):
    """Neither resizing nor anchors crash, and no loss is NaN."""
    import torch

    from maskline.models import build_model
    from maskline.prediction import predict
    from maskline.settings import complete
    from maskline.training_data import TrainingDataset

    whole = [0, 0, 1, 0, 1, 1, 0, 1]
    objects = [{"label": "x", "polygon": [whole]}]
    lines = [json.dumps({"image_url": str(odd / name), "label": objects}) for name in HARDEST]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    source = Source(str(tmp_path / "a.jsonl"))
    train = prepare(source, source, out=tmp_path / "out").coco("train")
    torch.manual_seed(0)
    settings = complete(
        {
            "model_name": "maskrcnn_resnet18_fpn_light",
            **{"min_size": 64, "max_size": 128, "number_of_workers": 0, "box_detections_per_image": 5},
            "advanced_settings": {"pretrained_weights": "none"},
        }
    )
    model = build_model(settings, 1).train()
    dataset = TrainingDataset(train, settings, augment=True)
    for index in range(len(dataset)):
        picture, target = dataset[index]
        with torch.no_grad():
            losses = model([picture / 255], [target])
        assert all(torch.isfinite(loss) for loss in losses.values()), train["images"][index]
    for found in predict(model, train, settings, device=torch.device("cpu")):
        assert np.isfinite([found["score"], *found["bbox"]]).all()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("verify", ["scaled", "full"])
@pytest.mark.parametrize("name", REFUSED)
def test_broken_pictures_are_refused_by_name(odd, name, verify, tmp_path):
    picture, (finding,) = look(odd / name, tmp_path, verify)
    assert picture is None
    assert finding.kind == "broken_picture"
    assert name in finding.what
    assert REFUSED[name] in finding.what
    assert (finding.lost, finding.action) == (2, "picture refused")


def test_two_names_that_look_alike_are_two_files(odd, tmp_path):
    names = ("cafe\u0301_nfd.jpg", "caf\u00e9_nfc.jpg", "same.jpg", "sub.dir/deep/same.jpg")
    lines = [json.dumps({"image_url": str(odd / name), "label": []}) for name in names]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    pictures, findings = check(read_annotations(tmp_path))
    assert sorted(p.file for p in pictures) == sorted(str(odd / name) for name in names)
    assert findings == []


def test_a_link_out_of_the_data_is_followed(odd, tmp_path):
    (tmp_path / "link.jpg").symlink_to(odd / "same.jpg")
    picture, findings = look("link.jpg", tmp_path)
    assert (findings, picture.file) == ([], str(tmp_path / "link.jpg"))


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
@pytest.mark.parametrize("form", ["azure_jsonl", "coco", "yolo"])
def test_a_name_that_is_no_utf8(odd, form, tmp_path):
    """Written by its bytes, read by its bytes, and carried through every text in between."""
    name = os.fsdecode(b"latin1_caf\xe9.jpg")
    (tmp_path / "images").mkdir()
    try:
        shutil.copy(odd / "same.jpg", tmp_path / "images" / name)
    except OSError:
        pytest.skip("the file system knows Unicode names only")
    if form == "azure_jsonl":
        (tmp_path / "a.jsonl").write_text(json.dumps({"image_url": f"images/{name}", "label": []}))
    elif form == "coco":
        images = [{"id": 1, "file_name": name, "width": 320, "height": 240}]
        data = {"images": images, "annotations": [], "categories": []}
        (tmp_path / "a.json").write_text(json.dumps(data))
    else:
        (tmp_path / "data.yaml").write_text("train: images\nnames: [x]\n")
    (picture,), findings = check(read_annotations(tmp_path, form))
    assert findings == []
    assert os.fsencode(picture.file).endswith(b"latin1_caf\xe9.jpg")
    assert (picture.width, picture.height) == USUAL


def test_bombs_cost_no_memory(odd, tmp_path):
    """Refused before 432 MB and 10.8 GB are decoded; measured from outside, in a process of its own."""
    code = (
        "import json, resource, sys, warnings\n"
        "warnings.simplefilter('ignore')\n"
        "from maskline.annotations import read_annotations\n"
        "from maskline.components.data_preparation.check import check\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "check(read_annotations(sys.argv[1], 'azure_jsonl'), 'full')\n"
        "before = peak()\n"
        "pictures, findings = check(read_annotations(sys.argv[2], 'azure_jsonl'), 'full')\n"
        "print(json.dumps([len(pictures), len(findings), peak() - before]))\n"
    )
    for file, names in (("usual", ("same.jpg",)), ("bombs", [n for n in REFUSED if "000x" in n])):
        lines = [json.dumps({"image_url": str(odd / name), "label": []}) for name in names]
        (tmp_path / file).write_text("\n".join(lines))
    command = [sys.executable, "-c", code, str(tmp_path / "usual"), str(tmp_path / "bombs")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pictures, findings, grown = json.loads(done.stdout)
    assert (pictures, findings) == (0, 2)
    assert grown < 32 << 10  # KiB
