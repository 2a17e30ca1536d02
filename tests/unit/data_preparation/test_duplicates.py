"""Copies that were re-encoded, resized or brightened are found; different pictures are not."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from maskline.annotations import read_annotations
from maskline.components.data_preparation.check import check
from maskline.components.data_preparation.duplicates import copies, fingerprint
from maskline.components.data_preparation.prepare import Source, prepare


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image,
        lambda image: image.resize((image.width * 9 // 10, image.height * 9 // 10)),
        lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    ],
    ids=["encoded", "resized", "brightened"],
)
def test_copies_of_real_pictures(change, shared_data, tmp_path):
    files = sorted((shared_data / "coco_crowd/images").iterdir())
    for file in files:
        change(Image.open(file).convert("RGB")).save(tmp_path / file.name, quality=70)
    new = [fingerprint(str(tmp_path / file.name)) for file in files]
    known = [fingerprint(str(file)) for file in files]
    found = dict(copies(new, known))
    assert all(found[index] == index for index in found)
    assert len(found) == len(files)


@pytest.mark.parametrize("name", ["coco_crowd", "fruits_nuts"])
def test_different_pictures_are_no_copies(name, shared_data):
    looks = [fingerprint(str(f)) for f in sorted((shared_data / name / "images").iterdir())]
    half = len(looks) // 2
    assert not list(copies(looks[:half], looks[half:]))


def test_plain_pictures_are_not_compared(tmp_path):
    Image.new("RGB", (40, 30), (9, 9, 9)).save(tmp_path / "a.png")
    assert fingerprint(str(tmp_path / "a.png")) is None


def test_blocks_don_t_matter(monkeypatch):
    bits = np.random.default_rng(0).random((50, 256)) > 0.5
    near = bits[::-1].copy()
    near[:, :10] ^= True
    whole = list(copies(list(near), list(bits)))
    assert whole == [(i, 49 - i) for i in range(50)]
    monkeypatch.setattr("maskline.components.data_preparation.duplicates._BLOCK", 7)
    assert list(copies(list(near), list(bits))) == whole


def test_found_between_all_parts(write_lines, findings, tmp_path):
    """One picture in three parts: as it is in test data, re-encoded in validation data."""
    for part in ("train", "validation", "test"):
        write_lines(tmp_path / part, {"a.png": ["can"], "b.png": ["can"]})
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((160, 120), Image.Resampling.BICUBIC)
    image.save(tmp_path / "train/a.png")
    image.save(tmp_path / "test/a.png")
    image.save(tmp_path / "validation/a.png", compress_level=0)
    image.resize((150, 112)).save(tmp_path / "validation/b.png")
    parts = [Source(str(tmp_path / part)) for part in ("train", "validation", "test")]
    prepare(*parts, out=tmp_path / "out")
    found = [(f["kind"], f["action"]) for f in findings(tmp_path / "out")]
    assert ("shared_picture", "kept in test") in found
    assert ("near_duplicate", "kept in validation") in found
    assert ("near_duplicate", "kept in test") in found


@pytest.mark.parametrize("verify", ["header", "scaled", "full"])
def test_how_far_pictures_are_looked_at(verify, odd, write_lines, tmp_path):
    """A JPEG file that is cut off has a sound header; decoding it at any scale shows the cut."""
    write_lines(tmp_path, {"a.png": ["can"]})
    line = (tmp_path / "data.jsonl").read_text().strip()
    lines = [line]
    for name in ("truncated.jpg", "truncated.png", "bad_crc.png"):
        (tmp_path / name).write_bytes((odd / name).read_bytes())
        lines.append(line.replace("a.png", name))
    (tmp_path / "data.jsonl").write_text("\n".join(lines) + "\n")
    pictures, findings = check(read_annotations(tmp_path), verify)
    broken = [f.kind for f in findings if f.lost]
    assert broken == ([] if verify == "header" else ["broken_picture"] * 3)
    assert all((p.look is None) == (verify == "header") for p in pictures if "a.png" not in p.file)
