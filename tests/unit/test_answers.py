"""Answers in all forms hold the masks: outlines drawn again by pycocotools, files read by our own readers."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies
from PIL import Image, ImageDraw, ImageFilter
from pycocotools import mask as coco

from maskline import answers, rle
from maskline.annotations import rasterise, read_annotations
from maskline.answer_files import Coco, Labelme, named, write_overlay
from maskline.detections import Detections
from maskline.outlines import is_hole, mask_to_rings, rings_to_mask, simple_rings

HEIGHT, WIDTH = 600, 800


def disc(radius: float, hole: float = -1) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(x - 400, y - 300)
    return (away <= radius) & (away > hole)


def star(lobes: int) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    angle = np.arctan2(y - 300, x - 400)
    return np.hypot(x - 400, y - 300) <= 150 + 60 * np.sin(lobes * angle)


def line(width: int) -> np.ndarray:
    image = Image.new("1", (WIDTH, HEIGHT))
    ImageDraw.Draw(image).line((50, 60, 700, 500), fill=1, width=width)
    return np.asarray(image)


def pixels(*places: tuple[int, int]) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for x, y in places:
        mask[y, x] = True
    return mask


SHAPES = {
    "disc 5": disc(5),
    "disc 10": disc(10),
    "disc 50": disc(50),
    "disc 200": disc(200),
    "line of 3 px": line(3),
    "line of 1 px": line(1),
    "ring 100-150": disc(150, 100),
    "star": star(12),
    "a pixel": pixels((17, 23)),
    "pixels that touch": pixels((17, 23), (18, 24), (19, 23)),
    "ring in a ring": disc(150, 100) | disc(60, 40),
    "two discs": np.roll(disc(20), 100, axis=1) | disc(20),
    "whole picture": np.ones((HEIGHT, WIDTH), bool),
}


def detections(*masks: np.ndarray) -> Detections:
    count = len(masks)
    boxes = np.zeros((count, 4), np.float32)
    for index, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            boxes[index] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return Detections(
        masks[0].shape[1],
        masks[0].shape[0],
        boxes,
        np.arange(count) % 2 + 1,
        np.linspace(0.9, 0.5, count).astype(np.float32),
        [rle.encode(mask) for mask in masks],
        ("can", "bottle"),
    )


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def drawn(polygon: list[list[float]]) -> np.ndarray:
    """Azure's rings, drawn one by one by pycocotools and combined with XOR as in Azure's trainer."""
    size = np.array([WIDTH, HEIGHT])
    rings = [(np.array(ring).reshape(-1, 2) * size).ravel().tolist() for ring in polygon]
    masks = coco.decode(coco.frPyObjects(rings, HEIGHT, WIDTH))
    return masks.sum(axis=2) % 2 == 1


@pytest.mark.parametrize("name", SHAPES)
def test_azures_polygons_keep_thin_parts_and_holes(name: str) -> None:
    mask = SHAPES[name]
    (box,) = answers.azure(detections(mask))["boxes"]
    assert overlap(drawn(box["polygon"]), mask) >= 0.98
    assert all(0 <= number <= 1 for ring in box["polygon"] for number in ring)
    assert np.array_equal(coco.decode(box["rle"]), mask)
    exact = mask_to_rings(mask)
    assert len(box["polygon"]) == len(exact)
    assert box["holes"] == [is_hole(ring) for ring in exact]


def test_an_outline_takes_little_memory() -> None:
    mask = np.zeros((1500, 2000), dtype=np.uint8)
    mask[5:-5, 5:-5] = 1
    tracemalloc.start()
    rings = simple_rings(mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [len(ring) for ring in rings] == [4]
    assert peak < 12 * mask.size  # bytes


def test_stairs_become_lines() -> None:
    exact, simple = mask_to_rings(disc(200)), simple_rings(disc(200))
    assert sum(map(len, simple)) < sum(map(len, exact)) / 4


def plainly_simplified(ring: np.ndarray, tolerance: float) -> list[list[int]]:
    """Douglas and Peucker's algorithm as it is told, from the uppermost left point on."""

    def between(begin: int, end: int) -> list[int]:
        if end - begin < 2:
            return []
        one, line = closed[begin], closed[end] - closed[begin]
        offset = closed[begin + 1 : end] - one
        length = np.hypot(*line)
        away = (
            np.abs(offset[:, 0] * line[1] - offset[:, 1] * line[0]) / length
            if length
            else np.hypot(*offset.T)
        )
        middle = begin + 1 + int(np.argmax(away))
        if away.max() <= tolerance:
            return []
        return [*between(begin, middle), middle, *between(middle, end)]

    closed = np.roll(ring, -int(np.argmin(ring.sum(axis=1))), axis=0)
    far = int(np.argmax(((closed - closed[0]) ** 2).sum(axis=1)))
    closed = np.concatenate([closed, closed[:1]])
    return closed[[0, *between(0, far), far, *between(far, len(closed) - 1)]].tolist()


@pytest.mark.parametrize("smooth", [8, 12, 20])
def test_outlines_of_many_parts_are_simplified_as_each_alone(smooth: int) -> None:
    noise = Image.fromarray(np.random.default_rng(smooth).integers(0, 255, (300, 400), dtype=np.uint8))
    ragged = noise.filter(ImageFilter.GaussianBlur(smooth)).point(lambda value: 255 * (value > 127))
    mask = np.asarray(ragged.filter(ImageFilter.MinFilter(5)).filter(ImageFilter.MaxFilter(5))) > 0
    exact, simple = mask_to_rings(mask), simple_rings(mask)
    assert len(simple) == len(exact) > 3
    wanted = [[plainly_simplified(ring, tolerance) for ring in exact] for tolerance in (1.5, 1.0, 0.75)]
    assert [ring.tolist() for ring in simple] in wanted


@settings(max_examples=60, deadline=None)
@given(strategies.integers(0, 2**32 - 1), strategies.integers(1, 24), strategies.integers(1, 24))
def test_any_mask_survives(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < rng.random()
    assert np.array_equal(rings_to_mask(mask_to_rings(mask), height, width), mask)
    if mask.any():
        assert overlap(rings_to_mask(simple_rings(mask), height, width), mask) >= 0.99


def test_azures_keys_and_fractions() -> None:
    found = detections(disc(50), disc(20))
    response = answers.azure(found)
    assert list(response) == ["boxes"]
    assert [box["label"] for box in response["boxes"]] == ["can", "bottle"]
    box = response["boxes"][0]["box"]
    assert list(box) == ["topX", "topY", "bottomX", "bottomY"]
    assert box["topX"] == pytest.approx(350 / WIDTH)
    assert box["bottomY"] == pytest.approx(351 / HEIGHT)
    assert response["boxes"][0]["score"] == pytest.approx(0.9)
    empty = detections(np.zeros((HEIGHT, WIDTH), bool))
    assert answers.azure(empty)["boxes"][0]["polygon"] == []


def test_a_labelme_file_is_read_back_with_its_holes(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    masks = [SHAPES[name] for name in ("ring 100-150", "two discs", "line of 3 px")]
    Labelme(tmp_path)("a.png", tmp_path / "a.png", detections(*masks))
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["imagePath"] == "a.png"
    assert [shape["shape_type"] for shape in told["shapes"]] == ["mask", "polygon", "polygon", "polygon"]
    (record,) = read_annotations(str(tmp_path), "labelme").pictures
    assert [instance.label for instance in record.instances] == ["can", "bottle", "can"]
    for instance, mask in zip(record.instances, masks, strict=True):
        again, _ = rasterise(instance.shape, WIDTH, HEIGHT)
        assert overlap(coco.decode({"size": [HEIGHT, WIDTH], "counts": again.counts}) > 0, mask) >= 0.98


def test_a_labelme_file_tells_of_detections_without_a_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "a.png")
    Labelme(tmp_path)("a.png", tmp_path / "a.png", detections(SHAPES["disc 10"], pixels()))
    told = json.loads((tmp_path / "a.json").read_text())
    assert [shape["label"] for shape in told["shapes"]] == ["can"]
    (empty,) = told["emptyMasks"]
    assert empty["label"] == "bottle"
    assert 0 < empty["score"] < 1
    assert len(empty["box"]) == 4
    (record,) = read_annotations(str(tmp_path), "labelme").pictures
    assert [instance.label for instance in record.instances] == ["can"]
    Labelme(tmp_path)("b.png", tmp_path / "a.png", detections(SHAPES["disc 10"]))
    assert "emptyMasks" not in json.loads((tmp_path / "b.json").read_text())


def test_a_coco_file_is_what_pycocotools_reads(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    masks = [SHAPES[name] for name in ("ring 100-150", "disc 10")]
    with (tmp_path / "answers.json").open("w") as stream:
        write = Coco(stream, ("can", "bottle"))
        write("sub/a.png", Path("a.png"), detections(*masks))
        write("b.png", Path("b.png"), detections(masks[0]))
        write.close()
    loaded: Any = COCO(str(tmp_path / "answers.json"))
    assert [image["file_name"] for image in loaded.imgs.values()] == ["sub/a.png", "b.png"]
    for annotation, mask in zip(loaded.anns.values(), [*masks, masks[0]], strict=True):
        assert np.array_equal(loaded.annToMask(annotation), mask)
        assert annotation["area"] == mask.sum()
    assert [annotation["category_id"] for annotation in loaded.anns.values()] == [1, 2, 1]


def test_numbers_in_a_png_and_what_they_mean() -> None:
    found = detections(disc(20), disc(50))
    picture = np.asarray(answers.index_picture(found))
    assert picture.dtype == np.uint8
    assert np.array_equal(picture == 1, disc(20))
    assert np.array_equal(picture == 2, disc(50) & ~disc(20))
    assert [row["label"] for row in answers.index_table(found)] == ["can", "bottle"]
    many = np.asarray(answers.index_picture(detections(*[pixels((i, 3)) for i in range(300)])))
    assert many.max() == 300


def test_no_two_answers_share_a_file(tmp_path: Path) -> None:
    for name in ("x/a.jpg", "x/a.png", "y/a.jpg", "y/deep/b.PNG", "y/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    listed = named([tmp_path / "x", tmp_path / "y", tmp_path / "x/a.jpg"])
    assert [one.name for one in listed] == ["a.jpg", "a-2.png", "a-3.jpg", "deep/b.PNG", "a-4.jpg"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [((70_000, 1), (65_500, 1)), ((128, 100), (512, 400)), ((1, 1), (512, 512)), ((300, 257), (300, 257))],
)
def test_an_overlay_is_written_of_any_size(
    size: tuple[int, int], shown: tuple[int, int], tmp_path: Path
) -> None:
    found = detections(np.ones(size[::-1], dtype=np.uint8))
    write_overlay(tmp_path, ("can", "bottle"), "some.png", Image.new("RGB", size), found)
    assert Image.open(tmp_path / "some.overlay.jpg").size == shown
