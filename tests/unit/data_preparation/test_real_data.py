import json
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as api
from pycocotools.coco import COCO

from maskline.annotations import mask_to_rings
from maskline.components.data_preparation.prepare import Source, prepare
from maskline.errors import DataError

BOX = [0.1, 0.1, 0.5, 0.1, 0.5, 0.5, 0.1, 0.5]


def both(found):
    for split in found.splits:
        yield from found.coco(split)["annotations"]


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
        mask = api.decode(annotation["segmentation"])
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        cropped = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        rings = mask_to_rings(1 - np.pad(cropped, 1))
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


def test_odd_annotations(odd, tmp_path, write_lines, findings):
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


def test_odd_lines(odd, tmp_path, write_lines, findings):
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
def test_odd_pictures(odd, tmp_path, findings):
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
    assert found.findings is not None
    # The others are one and the same picture in many forms, on both sides of the split.
    assert set(found.findings) == {"broken_picture", "near_duplicate"}
    assert found.findings["broken_picture"] == 7
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
    assert set(found.findings or {}) == {"near_duplicate"}  # upright, all eight are one picture
    upright = np.zeros((240, 320), dtype=np.uint8)
    upright[120:180, 80:240] = 1
    annotations = list(both(found))
    assert len(annotations) == 8
    for annotation in annotations:
        np.testing.assert_array_equal(api.decode(annotation["segmentation"]), upright)
    assert {(i["width"], i["height"]) for s in found.splits for i in found.coco(s)["images"]} == {(320, 240)}
