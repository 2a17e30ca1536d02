import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maskline.components.data_preparation.prepare import Source, prepare
from maskline.dataset import PreparedDataset
from maskline.errors import DataError
from maskline.sample_data import write_sample_data

BOX = [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5]


@pytest.mark.parametrize("kind", ["coco", "azure_jsonl"])
def test_a_size_from_before_rotation_is_refused_with_a_remedy(tmp_path, kind, paint):
    exif = Image.Exif()
    exif[0x0112] = 6
    paint(tmp_path / "a.jpg", size=(40, 30), exif=exif)
    details = {"width": 40, "height": 30}
    if kind == "coco":
        shape = {"segmentation": [[1, 1, 9, 1, 9, 9]]}
        data = {
            "images": [{"id": 1, "file_name": "a.jpg", **details}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, **shape}],
            "categories": [{"id": 1, "name": "x"}],
        }
        (tmp_path / "a.json").write_text(json.dumps(data))
    else:
        record = {"image_url": "a.jpg", "image_details": details, "label": [{"label": "x", "polygon": [BOX]}]}
        (tmp_path / "a.jsonl").write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"1 unrotated_size: .*40x30.*30x40.*save the picture upright"):
        prepare(Source(str(tmp_path), kind), out=tmp_path / "out")


def test_a_wrong_size_is_only_noted_where_points_are_fractions(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {"a.png": ["x"], "b.png": ["x"]})
    file = tmp_path / "data" / "data.jsonl"
    lines = [json.loads(line) | {"image_details": {"width": "9px"}} for line in file.read_text().splitlines()]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert prepare(source, out=tmp_path / "out").findings == {"wrong_size": 2}


def test_a_picture_whose_objects_are_all_refused_is_no_background(tmp_path, write_lines):
    bad = {"label": "x", "polygon": [[0.1, 0.1]]}
    source = write_lines(tmp_path / "data", {"a.png": ["x"], "b.png": ["x"], "c.png": [bad], "d.png": []})
    found = prepare(source, out=tmp_path / "out", max_bad_fraction=1)
    names = {i["file_name"][-5:] for s in found.splits for i in found.coco(s)["images"]}
    assert names == {"a.png", "b.png", "d.png"}
    assert found.findings == {"bad_polygon": 1, "no_object_left": 1}
    assert sum(s["background"] for s in found.splits.values()) == 1


def test_the_share_of_bad_records(tmp_path, write_lines):
    records = {f"{i:02d}.png": ["x"] for i in range(18)} | {"missing.png": ["x"], "z.png": ["x"]}
    source = write_lines(tmp_path / "data", records)
    assert prepare(source, out=tmp_path / "out").findings == {"missing_picture": 1}
    with pytest.raises(
        DataError, match=r"2 of 40 records can't be used \(5.0%, more than max_bad_fraction=0.04\)"
    ):
        prepare(source, out=tmp_path / "out", max_bad_fraction=0.04)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_the_problems_of_all_parts_come_at_once(tmp_path, write_lines):
    missing = write_lines(tmp_path / "data", {"missing.png": ["x"]})
    with pytest.raises(DataError) as caught:
        prepare(missing, Source(str(tmp_path / "nowhere")), missing, out=tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "missing_picture" in lines[0]
    assert "is not there" in lines[1]


def test_urls_of_a_datastore_say_what_to_do(tmp_path, write_lines):
    url = "azureml://subscriptions/s/resourcegroups/r/workspaces/w/datastores/d/paths/img/1.jpg"
    source = write_lines(tmp_path / "data", {url: ["x"]})
    with pytest.raises(DataError, match='properties: {"azureml://datastores/d": "s3:'):
        prepare(source, out=tmp_path / "out")


def test_data_without_an_object_are_refused(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {"a.png": [], "b.png": []})
    with pytest.raises(DataError, match="no object that can be used, in 2 sound pictures; label some"):
        prepare(source, out=tmp_path / "out")


@pytest.mark.parametrize("records", [{"a.png": ["x"]}, {"a.png": ["x"], "b.png": []}])
def test_one_picture_with_objects_cannot_be_split(tmp_path, records, write_lines):
    source = write_lines(tmp_path / "data", records)
    with pytest.raises(DataError, match="give validation_data"):
        prepare(source, out=tmp_path / "out")
    found = prepare(source, source, out=tmp_path / "out")
    assert (found.seed, found.splits["validation"]["instances"]) == (None, 1)
    assert found.findings == {"shared_picture": len(records)}


@pytest.mark.parametrize("sizes", [(1.5, None), (0, None), (0.6, 0.4), (0.2, -1)])
def test_sizes_that_cannot_be_held_out(tmp_path, sizes, write_lines):
    source = write_lines(tmp_path / "data", {"a.png": ["x"]})
    with pytest.raises(DataError, match="validation_data_size=.* must be above 0"):
        prepare(source, out=tmp_path / "out", validation_size=sizes[0], test_size=sizes[1])


def test_validation_and_test_are_shares_of_the_whole(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {f"{i:02d}.png": ["x"] for i in range(20)})
    found = prepare(source, out=tmp_path / "out", validation_size=0.25, test_size=0.5)
    assert {name: s["images"] for name, s in found.splits.items()} == {
        "train": 5,
        "validation": 5,
        "test": 10,
    }
    assert found.evaluation_split == "test"


def test_copies_of_a_picture_stay_together(tmp_path, write_lines):
    source = write_lines(tmp_path / "data", {f"{i:02d}.png": ["x"] for i in range(12)})
    for number in range(0, 12, 2):
        shutil.copy(tmp_path / "data" / f"{number:02d}.png", tmp_path / "data" / f"{number + 1:02d}.png")
    found = prepare(source, out=tmp_path / "out", validation_size=0.5)
    parts = [{i["sha256"] for i in found.coco(s)["images"]} for s in found.splits]
    assert not parts[0] & parts[1]
    assert sum(s["images"] for s in found.splits.values()) == 12


def test_classes_are_united_and_those_that_cannot_be_learnt_are_listed(tmp_path, write_lines):
    training = write_lines(tmp_path / "train", {"a.png": ["pear", "Apple"]})
    validation = write_lines(tmp_path / "validation", {"b.png": ["fig", "pear"]})
    found = prepare(training, validation, out=tmp_path / "out")
    assert found.classes == ("Apple", "fig", "pear")
    assert found.findings == {"class_not_in_training": 1, "shared_picture": 1}
    for split in ("train", "validation"):
        assert found.coco(split)["categories"] == [
            {"id": 1, "name": "Apple"},
            {"id": 2, "name": "fig"},
            {"id": 3, "name": "pear"},
        ]


# -- what is written ---------------------------------------------------------------------------------------


@pytest.fixture
def sample(tmp_path):
    return write_sample_data(tmp_path / "sample", pictures=20, size=64)


def run(folder, out, **more):
    return prepare(Source(str(folder / "train")), out=out, **more)


def test_every_tool_can_read_the_splits(sample, tmp_path):
    found = run(sample, tmp_path / "out")
    assert PreparedDataset.read(tmp_path / "out") == found
    official = COCO(str(found.split_file("train")))
    for annotation in official.loadAnns(official.getAnnIds()):
        mask = official.annToMask(annotation)
        assert annotation["area"] == mask.sum() > 0
        ys, xs = np.nonzero(mask)
        box = [xs.min(), ys.min(), xs.max() - xs.min() + 1, ys.max() - ys.min() + 1]
        assert annotation["bbox"] == box
    for image in official.loadImgs(official.getImgIds()):
        assert Image.open(image["file_name"]).size == (image["width"], image["height"])


def test_the_same_data_give_the_same_bytes_wherever_they_lie(sample, tmp_path):
    first = run(sample, tmp_path / "first")
    shutil.copytree(sample, tmp_path / "moved")
    file = tmp_path / "moved" / "train" / "annotations.jsonl"
    file.write_text("\n".join(reversed(file.read_text().splitlines())))
    second = run(tmp_path / "moved", tmp_path / "second")
    assert first.digest == second.digest
    for split in ("train", "validation"):
        text = second.split_file(split).read_text().replace(str(tmp_path / "moved"), str(sample))
        assert text == first.split_file(split).read_text()


def test_a_changed_pixel_label_mask_or_seed_gives_another_digest(sample, tmp_path):
    digests = {run(sample, tmp_path / "out").digest, run(sample, tmp_path / "out", seed=1).digest}
    file = sample / "train" / "annotations.jsonl"
    text = file.read_text()
    file.write_text(text.replace('"disc"', '"coin"', 1))
    digests.add(run(sample, tmp_path / "out").digest)
    file.write_text(text.replace('"isCrowd": 0', '"isCrowd": 1', 1))
    digests.add(run(sample, tmp_path / "out").digest)
    file.write_text(text)
    picture = next((sample / "train" / "images").iterdir())
    pixels = np.array(Image.open(picture))
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(picture)
    digests.add(run(sample, tmp_path / "out").digest)
    assert len(digests) == 5


def test_the_default_seed_is_written_down(sample, tmp_path):
    assert run(sample, tmp_path / "a").seed == 0
    assert run(sample, tmp_path / "a").digest == run(sample, tmp_path / "b", seed=0).digest


def test_a_second_preparation_leaves_no_findings_of_the_first(sample, tmp_path, write_lines, findings):
    missing = write_lines(tmp_path / "data", {"missing.png": ["x"]})
    with pytest.raises(DataError):
        prepare(missing, out=tmp_path / "out")
    run(sample, tmp_path / "out")
    assert findings(tmp_path / "out") == []


def test_the_room_loads_neither_torch_nor_kfp():
    code = (
        "import sys, maskline.annotations, maskline.pictures, maskline.dataset, maskline.sample_data\n"
        "assert 'pycocotools' not in sys.modules\n"
        "import maskline.components.data_preparation.prepare\n"
        "print([m for m in ('torch', 'torchvision', 'kfp', 'kubernetes', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_whole_stage_and_its_commands_load_no_torch(sample, tmp_path):
    """Not when it is imported, and not when it runs, report and all."""
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "import maskline.components.data_preparation.component\n"
        "from maskline.components.data_preparation import convert, inspect, prepare_job, report\n"
        "source = inspect.Source(sys.argv[1])\n"
        "inspect.inspect(source, [Path(sys.argv[2]) / 'a.html'])\n"
        "convert.convert(sys.argv[1], sys.argv[2] + '/new', 'coco')\n"
        "print([m for m in ('torch', 'torchvision') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(sample / "train"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
