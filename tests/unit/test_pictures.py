import os
import shutil

import numpy as np
import pytest
from PIL import Image

from maskline.errors import DataError
from maskline.pictures import PIXEL_LIMIT, open_upright, read_header

BROKEN = ("truncated.jpg", "truncated.png", "bad_crc.png", "empty.jpg", "html_as.jpg")
BOMBS = ("huge_header_60000x60000.png", "bomb_12000x12000.png")
OTHERS = [
    "tiny_1x1.png",
    "tiny_1x64.png",
    "tiny_64x1.png",
    "tiny_2x2.png",
    "tiny_7x5.png",
    "wide_2000x20.png",
    "tall_20x2000.png",
]


def size(path):
    header = read_header(path)
    return header.width, header.height


def pixels(path):
    return np.asarray(open_upright(path)).astype(int)


def far(first, second):
    return np.abs(first - second).mean()


@pytest.fixture
def picture():
    ramp = np.linspace(0, 255, 12 * 9 * 3).reshape(9, 12, 3)
    return Image.fromarray(ramp.astype(np.uint8))


def test_every_good_odd_picture_is_opened(odd):
    expected = pixels(odd / "same.jpg")
    seen = 0
    for path in sorted(p for p in odd.rglob("*") if p.is_file() and "json" not in p.suffix):
        if path.name in BROKEN + BOMBS:
            continue
        image = open_upright(path)
        assert (image.mode, image.size) == ("RGB", size(path)), path
        if path.name not in OTHERS:
            assert image.size == (320, 240), path
            grey = np.asarray(image.convert("L")).astype(int)
            assert far(grey, np.asarray(Image.fromarray(expected.astype(np.uint8)).convert("L"))) < 90, path
            assert grey.std() > 20, path
        seen += 1
    assert seen >= 50


@pytest.mark.parametrize("name", BROKEN)
def test_broken_pictures_are_errors_that_name_the_file(odd, name):
    with pytest.raises(DataError, match=name):
        open_upright(odd / name)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BOMBS)
def test_bombs_are_refused_by_their_header(odd, name, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    for read in (open_upright, read_header):
        with pytest.raises(DataError, match=name):
            read(odd / name)


def test_the_limit_is_a_quarter_gigabyte():
    assert PIXEL_LIMIT * 3 <= 2**28 < (PIXEL_LIMIT + 1) * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_agree(odd, orientation):
    path = odd / f"exif_orient_{orientation}.jpg"
    assert far(pixels(path), pixels(odd / "exif_orient_1.jpg")) < 3
    header = read_header(path)
    assert (header.width, header.height) == (320, 240)
    stored = (240, 320) if orientation >= 5 else (320, 240)
    assert (header.stored_width, header.stored_height) == stored


@pytest.mark.parametrize("form", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_header_and_pixels_agree_in_every_format(tmp_path, picture, form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{form}"
    picture.save(path, exif=exif)
    image = open_upright(path)
    assert image.size == size(path) == ((9, 12) if orientation >= 5 else (12, 9))


def test_damaged_exif_data_are_passed_over(tmp_path, picture):
    path = tmp_path / "a.jpg"
    picture.save(path, exif=b"Exif\0\0MM\0*junkjunkjunk")
    assert open_upright(path).size == (12, 9)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 128, 255], np.uint16, [0, 128, 255]),
        ([0, 512, 1023], np.uint16, [0, 128, 255]),
        ([0, 100, 1000], np.uint16, [0, 25, 249]),
        ([0, 4095, 2000], np.uint16, [0, 255, 125]),
        ([0, 32896, 65535], np.uint16, [0, 128, 255]),
        ([-100, -20, 100], np.int32, [0, 102, 255]),
        ([0, 100_000, 60_000], np.int32, [0, 255, 153]),
        ([0, 0.6, 1], np.float32, [0, 153, 255]),
        ([0, 100, 200], np.float32, [0, 100, 200]),
        ([-1, 0.2, 1], np.float32, [0, 153, 255]),
        ([np.nan, 100, 255], np.float32, [0, 100, 255]),
        ([7, 7, 7], np.float32, [7, 7, 7]),
        ([0, 0, 0], np.uint16, [0, 0, 0]),
    ],
)
def test_scaling_to_8_bits(tmp_path, values, dtype, expected):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([values], dtype=dtype)).save(path)
    assert pixels(path)[0, :, 1].tolist() == expected


def test_big_endian_grey(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 2 1 65535\n" + np.array([0, 65535], dtype=">u2").tobytes())
    assert pixels(path)[0, :, 0].tolist() == [0, 255]


def test_the_file_may_go_when_it_was_opened(tmp_path, picture):
    path = tmp_path / "a.png"
    picture.save(path)
    image = open_upright(path)
    path.unlink()
    assert image.getpixel((0, 0)) == (0, 0, 1)


def test_what_is_no_file(tmp_path):
    with pytest.raises(DataError, match="nowhere.png' is not there"):
        read_header(tmp_path / "nowhere.png")
    with pytest.raises(DataError, match="can't be read as a picture"):
        open_upright(tmp_path)


def test_a_damaged_beginning_is_not_taken_for_a_foreign_format(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(DataError, match="its format is none of JPEG.* or its beginning is damaged"):
        open_upright(tmp_path / "a.jpg")


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_a_name_that_is_no_utf8(odd, tmp_path):
    path = os.fsencode(tmp_path) + b"/latin1_caf\xe9.jpg"
    try:
        shutil.copy(os.fsencode(odd / "same.jpg"), path)
    except OSError:
        pytest.skip("the file system knows Unicode names only")
    assert open_upright(os.fsdecode(path)).size == (320, 240)
