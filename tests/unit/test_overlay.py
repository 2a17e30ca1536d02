"""Masks are drawn where they are, in the colour of their class."""

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from maskline.overlay import CROWD, OPACITY, class_colours, css, jpeg_uri, overlay_masks

COLOURS = class_colours(3)


def encode(mask):
    found = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode("ascii")}


def blank(width, height):
    return Image.new("RGB", (width, height), (100, 100, 100))


def mixed(colour):
    return [round(100 * (1 - OPACITY) + part * OPACITY) for part in colour]


def test_inside_outline_and_outside():
    mask = np.zeros((60, 90))
    mask[20:40, 30:70] = 1
    image = blank(90, 60)
    drawn = np.asarray(overlay_masks(image, [{"category_id": 2, "segmentation": encode(mask)}], COLOURS))
    assert drawn.shape == (60, 90, 3)
    assert drawn[30, 50].tolist() == mixed(COLOURS[2])
    assert tuple(drawn[20, 50]) == tuple(drawn[39, 50]) == tuple(drawn[30, 30]) == COLOURS[2]
    assert (drawn[mask == 0] == 100).all()
    assert np.asarray(image).max() == 100


def test_polygons_and_crowds():
    record = {"category_id": 1, "iscrowd": 1, "segmentation": [[10, 10, 50, 10, 50, 50, 10, 50]]}
    drawn = np.asarray(overlay_masks(blank(90, 60), [record], COLOURS))
    assert drawn[40, 40].tolist() == mixed(CROWD)
    assert drawn[55, 80].tolist() == [100, 100, 100]


def test_small_pictures_grow_where_that_is_asked_for():
    assert overlay_masks(Image.new("RGB", (90, 60)), [], {}, least=180).size == (180, 120)
    assert overlay_masks(Image.new("RGB", (60, 600)), [], {}, least=180).size == (64, 640)


@pytest.mark.parametrize(
    ("size", "shown"), [((960, 400), (480, 200)), ((500, 1280), (250, 640)), ((90, 60), (90, 60))]
)
def test_large_pictures_shrink(size, shown):
    width, height = size
    mask = np.zeros((height, width))
    mask[:, : width // 2] = 1
    drawn = overlay_masks(blank(width, height), [{"category_id": 1, "segmentation": encode(mask)}], COLOURS)
    assert drawn.size == shown
    pixels = np.asarray(drawn)
    assert pixels[shown[1] // 2, shown[0] // 4].tolist() == mixed(COLOURS[1])
    assert pixels[shown[1] // 2, shown[0] - 5].tolist() == [100, 100, 100]


def test_a_thin_object_stays_visible_when_shrunk():
    mask = np.zeros((2000, 2000))
    mask[1000, :] = 1
    drawn = np.asarray(
        overlay_masks(blank(2000, 2000), [{"category_id": 1, "segmentation": encode(mask)}], COLOURS)
    )
    assert (drawn != 100).any(axis=(1, 2)).sum() == 1


def test_labels_are_drawn_with_scores_and_stay_inside():
    mask = np.zeros((60, 90))
    mask[55:, 85:] = 1
    record = {"category_id": 1, "segmentation": encode(mask), "score": 0.5}
    drawn = np.asarray(overlay_masks(blank(90, 60), [record], COLOURS, {1: "<i>$\u4e2d"}))
    chip = (drawn == np.array(COLOURS[1])).all(axis=2)
    assert chip[45:, 20:84].any()
    assert not chip[:40].any()


def test_a_name_in_letters_that_the_font_lacks_becomes_a_number():
    mask = np.ones((60, 200))
    record = {"category_id": 1, "segmentation": encode(mask), "score": 0.5}
    drawn = {
        name: jpeg_uri(overlay_masks(blank(200, 60), [record], COLOURS, {1: name}))
        for name in ("\u82f9\u679c", "class 1", "\u03a9 \u0436")
    }
    assert drawn["\u82f9\u679c"] == drawn["class 1"] != drawn["\u03a9 \u0436"]


def test_an_empty_mask_draws_nothing():
    record = {"category_id": 1, "segmentation": encode(np.zeros((60, 90))), "score": 0.9}
    assert (np.asarray(overlay_masks(blank(90, 60), [record], COLOURS)) == 100).all()


def test_any_number_of_classes_has_its_own_colour():
    colours = class_colours(60)
    assert list(colours) == list(range(1, 61))
    assert len({css(colour) for colour in colours.values()}) == 60
    assert css((1, 2, 255)) == "#0102ff"


def test_jpeg_uri():
    assert jpeg_uri(blank(4, 4)).startswith("data:image/jpeg;base64,/9j/")


def test_outlines_and_letters_grow_with_the_picture():
    mask = np.zeros((1500, 2400))
    mask[600:, 800:] = 1
    record = {"category_id": 1, "segmentation": encode(mask), "score": 0.5}
    image = blank(2400, 1500)
    drawn = np.asarray(overlay_masks(image, [record], COLOURS, {1: "nut"}, largest=image.size))
    full = (drawn == np.array(COLOURS[1])).all(axis=2)
    assert full[1000, 800:803].all()
    assert drawn[1000, 803].tolist() == mixed(COLOURS[1])
    assert full[1497:, 1500].all()
    assert not full[1496, 1500]
    letters = np.flatnonzero((drawn == 0).all(axis=2).any(axis=1))
    assert 22 <= letters[-1] - letters[0] + 1 <= 33


def test_a_label_does_not_hide_the_whole_picture():
    mask = np.zeros((12, 30))
    mask[4:8, 4:8] = 1
    record = {"category_id": 1, "segmentation": encode(mask), "score": 0.5}
    drawn = np.asarray(overlay_masks(blank(30, 12), [record], COLOURS, {1: "nut"}, largest=(30, 12)))
    assert (drawn[mask == 0] == 100).all()
