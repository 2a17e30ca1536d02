import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as api
from pycocotools.coco import COCO

from maskline.annotations import mask_to_rings
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.dataset import PreparedDataset
from maskline.errors import DataError
from maskline.sample_data import write_sample_data

BOX = [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5]


def paint(path, shade=90, size=(40, 30), exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, (shade, shade, 10))
    image.save(path, **({"exif": exif} if exif else {}))


def write_lines(folder, records):
    """Pictures with objects of the classes named: {"a.png": ["can", "box"], ...}."""
    lines = []
    for number, (name, labels) in enumerate(records.items()):
        if name.endswith((".png", ".jpg")) and "missing" not in name:
            paint(folder / name, 10 + number)
        objects = [
            {"label": label, "polygon": [[v + 0.02 * i for v in BOX]]} if isinstance(label, str) else label
            for i, label in enumerate(labels)
        ]
        lines.append(json.dumps({"image_url": name, "label": objects}))
    folder.mkdir(exist_ok=True)
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    return Source(str(folder))


def findings(out):
    return [json.loads(line) for line in (out / "findings.jsonl").read_text().splitlines()]


def both(found):
    for split in found.splits:
        yield from found.coco(split)["annotations"]


# -- real data ---------------------------------------------------------------------------------------------


def prepared_with_names(found):
    """(file name, class, crowd) -> masks of all splits, as arrays."""
    masks = {}
    for split in found.splits:
        data = found.coco(split)
        images = {i["id"]: i["file_name"].rsplit("/", 1)[-1] for i in data["images"]}
        for annotation in data["annotations"]:
            rle = annotation["segmentation"]
            name = found.classes[annotation["category_id"] - 1]
            key = images[annotation["image_id"]], name, annotation["iscrowd"], annotation["area"]
            masks.setdefault(key, []).append(api.decode(rle).tobytes())
    return {key: sorted(values) for key, values in masks.items()}


@pytest.mark.parametrize("name", ["coco_crowd/annotations.json", "fruits_nuts/trainval.json"])
def test_masks_are_those_of_pycocotools(shared_data, tmp_path, name):
    found = prepare(Source(str(shared_data / name)), out=tmp_path)
    official = COCO(str(shared_data / name))
    expected = {}
    for annotation in official.loadAnns(official.getAnnIds()):
        mask = official.annToMask(annotation)
        label = official.loadCats(annotation["category_id"])[0]["name"]
        image = official.loadImgs(annotation["image_id"])[0]["file_name"]
        key = image, label, annotation["iscrowd"], int(mask.sum())
        expected.setdefault(key, []).append(np.asfortranarray(mask).tobytes())
    assert prepared_with_names(found) == {key: sorted(values) for key, values in expected.items()}


def test_coco_crowd_keeps_crowds_holes_and_parts(shared_data, tmp_path):
    found = prepare(Source(str(shared_data / "coco_crowd")), out=tmp_path)
    annotations = list(both(found))
    assert len(annotations) == 306
    assert sum(a["iscrowd"] for a in annotations) == 3
    assert sum(counts["crowds"] for counts in found.splits.values()) == 3
    holed = several = 0
    for annotation in annotations:
        # Round the ground, whose parts don't join at corners: an outline more is a hole in the object, a
        # hole more is a part of it.
        rings = mask_to_rings(1 - np.pad(api.decode(annotation["segmentation"]), 1))
        areas = [np.sum(r[:, 0] * np.roll(r[:, 1], -1) - r[:, 1] * np.roll(r[:, 0], -1)) for r in rings]
        holed += sum(a > 0 for a in areas) > 1
        several += sum(a < 0 for a in areas) > 1
    assert (holed, several) == (30, 60)
    assert len(found.classes) == 51


def test_fruits(shared_data, tmp_path):
    found = prepare(Source(str(shared_data / "fruits_nuts"), "coco"), out=tmp_path)
    assert found.classes == ("date", "fig", "hazelnut")
    assert sum(s["images"] for s in found.splits.values()) == 18
    assert sum(s["instances"] for s in found.splits.values()) == 165
    assert found.splits["validation"]["images"] == 4
    assert found.findings == {}


def test_nuclei_in_azure_form_are_bit_equal_to_their_pngs(dsb2018_jsonl, shared_data, tmp_path):
    found = prepare(Source(str(dsb2018_jsonl), "mltable"), out=tmp_path)
    assert found.findings == {}
    seen = 0
    for split in found.splits:
        data = found.coco(split)
        masks = {}
        for annotation in data["annotations"]:
            masks.setdefault(annotation["image_id"], []).append(
                api.decode(annotation["segmentation"]).tobytes()
            )
        for image in data["images"]:
            name = image["file_name"].rsplit("/", 1)[-1].removesuffix(".png")
            folder = shared_data / "dsb2018_dev" / name / "masks"
            pngs = [(np.asarray(Image.open(f)) > 0).astype(np.uint8) for f in folder.iterdir()]
            assert sorted(masks[image["id"]]) == sorted(
                np.asfortranarray(m).tobytes(order="F") for m in pngs
            ) or (sorted(masks[image["id"]]) == sorted(m.tobytes() for m in pngs))
            seen += len(pngs)
    assert seen == 1279


def test_odd_annotations(odd, tmp_path):
    good = write_lines(tmp_path / "good", {"a.png": ["naïve"]})
    source = Source(str(odd / "odd_annotations.json"), "coco")
    found = prepare(source, validation=good, out=tmp_path / "out", max_bad_fraction=1)
    listed = [(f["where"].rsplit(": ", 1)[-1], f["kind"], f["lost"]) for f in findings(tmp_path / "out")]
    assert sorted(x for x in listed if x[0].startswith(("annotation", "image"))) == sorted(
        [
            ("annotation 1", "duplicate_id", 1),
            ("annotation 2", "bad_polygon", 1),
            ("annotation 3", "bad_polygon", 1),
            ("annotation 4", "outside_coordinates", 0),
            ("annotation 5", "bad_polygon", 1),
            ("annotation 6", "self_crossing", 0),
            ("annotation 9", "empty_mask", 1),
            ("annotation 10", "bad_rle", 1),
            ("annotation 11", "unknown_category", 1),
            ("annotation 12", "unknown_picture", 1),
            ("annotation 13", "bad_box", 0),
            ("annotation 13", "duplicate_object", 0),
            ("annotation 14", "bad_polygon", 1),
            ("annotation 15", "bad_polygon", 1),
            ("annotation 16", "outside_coordinates", 1),
            ("image 2", "wrong_size", 1),
            ("image 3", "missing_picture", 1),
        ]
    )
    train = found.coco("train")
    assert sorted(a["area"] for a in train["annotations"]) == [1250, 2500, 5000, 76800, 76800]
    assert [a["area"] for a in train["annotations"] if a["iscrowd"]] == [76800]
    assert sorted(i["file_name"].rsplit("/", 1)[1] for i in train["images"]) == ["cmyk.jpg", "same.jpg"]
    assert found.splits["train"] == {"images": 2, "instances": 4, "crowds": 1, "background": 1}
    with pytest.raises(
        DataError, match=r"13 of 21 records .* 5 bad_polygon, .*annotation 2: .*findings.jsonl"
    ):
        prepare(source, validation=good, out=tmp_path / "again")
    assert len(findings(tmp_path / "again")) == len(listed)


def test_odd_lines(odd, tmp_path):
    good = write_lines(tmp_path / "good", {"a.png": ["can"]})
    found = prepare(Source(str(odd / "odd.jsonl")), good, out=tmp_path / "out", max_bad_fraction=1)
    listed = {}
    for finding in findings(tmp_path / "out"):
        line = int(finding["where"].rsplit(":", 1)[1].split()[0])
        listed.setdefault(line, []).append(finding["kind"])
    assert listed == {
        2: ["blank_line"],
        3: ["bad_line"],
        4: ["repeated_picture"],
        5: ["repeated_picture", "outside_coordinates"],
        6: ["missing_picture"],
        7: ["bad_label", "no_object_left"],
        8: ["bad_line"],
    }
    assert found.splits["train"] == {"images": 1, "instances": 2, "crowds": 0, "background": 0}


def test_nan_annotations(odd, tmp_path):
    with pytest.raises(DataError, match=r"nan_annotations.json: .*annotation 1: .*NaN"):
        prepare(Source(str(odd / "nan_annotations.json")), out=tmp_path)
    assert not (tmp_path / "dataset.json").exists()


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_odd_pictures(odd, tmp_path):
    names = sorted(str(p.relative_to(odd)) for p in odd.rglob("*") if p.is_file() and "json" not in p.suffix)
    lines = [json.dumps({"image_url": n, "label": [{"label": "x", "polygon": [BOX]}]}) for n in names]
    shutil.copytree(odd, tmp_path / "odd")
    (tmp_path / "odd" / "all.jsonl").write_text("\n".join(lines))
    found = prepare(Source(str(tmp_path / "odd" / "all.jsonl")), out=tmp_path / "out", max_bad_fraction=1)
    broken = {
        names[int(f["where"].rsplit(":", 1)[1]) - 1]
        for f in findings(tmp_path / "out")
        if "picture" in f["kind"]
    }
    assert broken == {
        "truncated.jpg",
        "truncated.png",
        "bad_crc.png",
        "empty.jpg",
        "html_as.jpg",
        "huge_header_60000x60000.png",
        "bomb_12000x12000.png",
    }
    assert found.findings == {"broken_picture": 7}
    assert sum(s["images"] for s in found.splits.values()) == len(names) - 7


def test_eight_orientations_agree_with_a_mask_drawn_upright(odd, tmp_path):
    ring = [0.25, 0.5, 0.75, 0.5, 0.75, 0.75, 0.25, 0.75]
    for number in range(1, 9):
        shutil.copy(odd / f"exif_orient_{number}.jpg", tmp_path)
    details = {"width": 320, "height": 240}
    records = [
        {
            "image_url": f"exif_orient_{n}.jpg",
            "image_details": details,
            "label": [{"label": "x", "polygon": [ring]}],
        }
        for n in range(1, 9)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    found = prepare(Source(str(tmp_path)), out=tmp_path / "out")
    assert found.findings == {}
    upright = np.zeros((240, 320), dtype=np.uint8)
    upright[120:180, 80:240] = 1
    annotations = list(both(found))
    assert len(annotations) == 8
    for annotation in annotations:
        np.testing.assert_array_equal(api.decode(annotation["segmentation"]), upright)
    assert {(i["width"], i["height"]) for s in found.splits for i in found.coco(s)["images"]} == {(320, 240)}


# -- sizes, findings, limits -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["coco", "azure_jsonl"])
def test_a_size_from_before_rotation_is_refused_with_a_remedy(tmp_path, kind):
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


def test_a_wrong_size_is_only_noted_where_points_are_fractions(tmp_path):
    source = write_lines(tmp_path / "data", {"a.png": ["x"], "b.png": ["x"]})
    file = tmp_path / "data" / "data.jsonl"
    lines = [json.loads(line) | {"image_details": {"width": "9px"}} for line in file.read_text().splitlines()]
    file.write_text("\n".join(map(json.dumps, lines)))
    assert prepare(source, out=tmp_path / "out").findings == {"wrong_size": 2}


def test_a_picture_whose_objects_are_all_refused_is_no_background(tmp_path):
    bad = {"label": "x", "polygon": [[0.1, 0.1]]}
    source = write_lines(tmp_path / "data", {"a.png": ["x"], "b.png": ["x"], "c.png": [bad], "d.png": []})
    found = prepare(source, out=tmp_path / "out", max_bad_fraction=1)
    names = {i["file_name"][-5:] for s in found.splits for i in found.coco(s)["images"]}
    assert names == {"a.png", "b.png", "d.png"}
    assert found.findings == {"bad_polygon": 1, "no_object_left": 1}
    assert sum(s["background"] for s in found.splits.values()) == 1


def test_the_share_of_bad_records(tmp_path):
    records = {f"{i:02d}.png": ["x"] for i in range(18)} | {"missing.png": ["x"], "z.png": ["x"]}
    source = write_lines(tmp_path / "data", records)
    assert prepare(source, out=tmp_path / "out").findings == {"missing_picture": 1}
    with pytest.raises(
        DataError, match=r"2 of 40 records can't be used \(5.0%, more than max_bad_fraction=0.04\)"
    ):
        prepare(source, out=tmp_path / "out", max_bad_fraction=0.04)
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_the_problems_of_all_parts_come_at_once(tmp_path):
    missing = write_lines(tmp_path / "data", {"missing.png": ["x"]})
    with pytest.raises(DataError) as caught:
        prepare(missing, Source(str(tmp_path / "nowhere")), missing, out=tmp_path / "out")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert "missing_picture" in lines[0]
    assert "is not there" in lines[1]


def test_urls_of_a_datastore_say_what_to_do(tmp_path):
    url = "azureml://subscriptions/s/resourcegroups/r/workspaces/w/datastores/d/paths/img/1.jpg"
    source = write_lines(tmp_path / "data", {url: ["x"]})
    with pytest.raises(DataError, match="download the pictures and use relative paths"):
        prepare(source, out=tmp_path / "out")


def test_data_without_an_object_are_refused(tmp_path):
    source = write_lines(tmp_path / "data", {"a.png": [], "b.png": []})
    with pytest.raises(DataError, match="no object that can be used, in 2 sound pictures; label some"):
        prepare(source, out=tmp_path / "out")


@pytest.mark.parametrize("records", [{"a.png": ["x"]}, {"a.png": ["x"], "b.png": []}])
def test_one_picture_with_objects_cannot_be_split(tmp_path, records):
    source = write_lines(tmp_path / "data", records)
    with pytest.raises(DataError, match="give validation_data"):
        prepare(source, out=tmp_path / "out")
    found = prepare(source, source, out=tmp_path / "out")
    assert (found.seed, found.splits["validation"]["instances"]) == (None, 1)
    assert found.findings == {"shared_picture": len(records)}


@pytest.mark.parametrize("sizes", [(1.5, None), (0, None), (0.6, 0.4), (0.2, -1)])
def test_sizes_that_cannot_be_held_out(tmp_path, sizes):
    source = write_lines(tmp_path / "data", {"a.png": ["x"]})
    with pytest.raises(DataError, match="validation_data_size=.* must be above 0"):
        prepare(source, out=tmp_path / "out", validation_size=sizes[0], test_size=sizes[1])


def test_validation_and_test_are_shares_of_the_whole(tmp_path):
    source = write_lines(tmp_path / "data", {f"{i:02d}.png": ["x"] for i in range(20)})
    found = prepare(source, out=tmp_path / "out", validation_size=0.25, test_size=0.5)
    assert {name: s["images"] for name, s in found.splits.items()} == {
        "train": 5,
        "validation": 5,
        "test": 10,
    }
    assert found.evaluation_split == "test"


def test_copies_of_a_picture_stay_together(tmp_path):
    source = write_lines(tmp_path / "data", {f"{i:02d}.png": ["x"] for i in range(12)})
    for number in range(0, 12, 2):
        shutil.copy(tmp_path / "data" / f"{number:02d}.png", tmp_path / "data" / f"{number + 1:02d}.png")
    found = prepare(source, out=tmp_path / "out", validation_size=0.5)
    parts = [{i["sha256"] for i in found.coco(s)["images"]} for s in found.splits]
    assert not parts[0] & parts[1]
    assert sum(s["images"] for s in found.splits.values()) == 12


def test_classes_are_united_and_those_that_cannot_be_learnt_are_listed(tmp_path):
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


def test_a_second_preparation_leaves_no_findings_of_the_first(sample, tmp_path):
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
