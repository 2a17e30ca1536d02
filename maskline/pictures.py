"""Pictures as users have them, in the one form that every stage sees: upright, 8 bits, RGB."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from .errors import DataError

PIXEL_LIMIT = 89_478_485
"""Pixels of the largest picture that is opened: 256 MiB as RGB. Larger ones are refused by their header."""

_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")
SUFFIXES = frozenset((".bmp", ".gif", ".jp2", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""How names of picture files end, in lower case."""
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS = (8, 10, 12, 14, 16)


@dataclass(frozen=True)
class PictureHeader:
    """What the header of a picture file says, in pixels.

    Attributes:
        width, height: of the upright picture, as everything in Maskline counts them.
        stored_width, stored_height: before the EXIF orientation is applied.
        turned: whether the EXIF orientation says that the picture is turned or mirrored.
    """

    width: int
    height: int
    stored_width: int
    stored_height: int
    turned: bool = False


def read_header(path: str | os.PathLike[str]) -> PictureHeader:
    """The sizes of a picture, without decoding it.

    Raises:
        DataError: no file, no picture, or one of more than PIXEL_LIMIT pixels.
    """
    with _opened(path) as image:
        width, height = image.size
        orientation = _orientation(image)
        upright = (height, width) if orientation >= 5 else (width, height)
        return PictureHeader(*upright, width, height, orientation > 1)


def open_upright(
    path: str | os.PathLike[str] | IO[bytes],
    least: tuple[int, int] | None = None,
    limit: int = PIXEL_LIMIT,
) -> Image.Image:
    """Decode a picture: EXIF orientation applied, mode RGB, 8 bits a channel.

    The content decides about the format, not the name. Of several frames the first is taken. Alpha is
    dropped, a palette looked up, CMYK converted, and colour profiles are ignored, as `convert("RGB")` of
    Pillow does. Grey of 16 bits is scaled by the smallest of 8, 10, 12, 14 and 16 bits that holds the
    largest value, so that a 12-bit camera's pictures aren't black; 32-bit values that don't fit 16 bits
    are scaled from their smallest to their largest. Floats are taken as 0 to 1 if they lie in it, as 0 to
    255 if they lie in that, and are scaled from smallest to largest otherwise; NaN becomes 0.

    Args:
        path: the file, or its bytes as a stream.
        least: width and height in pixels that are enough, of the upright picture. A JPEG file that is larger
            is decoded at a half, a quarter or an eighth of its size, the smallest that isn't below that.
        limit: pixels that the picture may have; looked at before it is decoded.

    Raises:
        DataError: no file, no picture, truncated, damaged, or more than `limit` pixels; names the file.
    """
    with _opened(path, limit) as image:
        orientation = _orientation(image)
        turn = _TURNS.get(orientation)
        if least is not None and image.format == "JPEG":
            image.draft(None, least if orientation < 5 else least[::-1])
        image.load()
        picture = _to_rgb(image)
        # Pillow's conversion is a copy even of what is in RGB, so closing the file takes no pixels away.
        return picture.transpose(turn) if turn is not None else picture


def scaled_grey(path: str | os.PathLike[str], side: int) -> NDArray[np.float32]:
    """The upright picture in grey, squeezed to `side` x `side` pixels, values 0 to 255.

    A JPEG file is decoded at the smallest scale that serves. All its bytes are read even so, which shows
    whether they are all there.

    Raises:
        DataError: as `open_upright`.
    """
    with _opened(path) as image:
        turn = _TURNS.get(_orientation(image))
        if image.format == "JPEG":
            image.draft("L" if image.mode in ("L", "RGB") else None, (side, side))
        image.load()
        small = (image if image.mode == "L" else _to_rgb(image)).convert("L")
        if turn is not None:
            small = small.transpose(turn)
        return np.asarray(small.resize((side, side), Image.Resampling.BOX), dtype=np.float32)


def read_values(file: str | os.PathLike[str] | IO[bytes]) -> NDArray[np.generic]:
    """The values of a mask as they are stored: indices of a palette, grey values, or colours.

    Returns:
        Shape (height, width), or (height, width, 3) of colours. Alpha is dropped.

    Raises:
        DataError: as `open_upright`.
    """
    with _opened(file) as image:
        image.load()
        if image.mode in ("1", "L", "P", "I") or image.mode.startswith("I;16"):
            return np.array(image)
        return np.array(image.convert("L" if image.mode == "LA" else "RGB"))


@contextmanager
def _opened(file: str | os.PathLike[str] | IO[bytes], limit: int = PIXEL_LIMIT) -> Iterator[Image.Image]:
    """An open picture; whatever Pillow raises over it becomes a DataError that names the file."""
    name = repr(os.fspath(file)) if isinstance(file, str | os.PathLike) else "the file"
    try:
        Image.preinit()  # else Pillow loads all of its plugins, PDF's and others, for want of JPEG's
        with Image.open(file, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > limit:
                size = f"{width}x{height} pixels, more than {limit}"
                raise DataError(f"{name} has {size}; make it smaller")
            yield image
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{name} is not there") from None
    except UnidentifiedImageError:
        reason = f"its format is none of {', '.join(_FORMATS)}, or its beginning is damaged"
        raise DataError(f"{name} can't be read as a picture: {reason}") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"{name} is too large to be opened: {error}") from error
    except Exception as error:  # a damaged file makes Pillow's plugins raise almost anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{name} can't be read as a picture: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation 1 to 8, from what stands before the pixels; 1 where there is none that can be read."""
    if image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info):
        # Pillow turns a TIFF itself; of a PNG without EXIF data in its header it would decode the pixels.
        return 1
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data don't make a picture unreadable
        return 1
    return found if found in _TURNS else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")


def _to_8_bits(values: NDArray[np.generic]) -> NDArray[np.uint8]:
    found = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(found.min()), float(found.max())
    if np.issubdtype(values.dtype, np.floating):
        limits = [top for top in (1.0, 255.0) if high <= top]
    else:
        limits = [float(2**bits - 1) for bits in _BITS if high < 2**bits]
    if low < 0 or not limits:
        found, limits = found - low, [(high - low) or 1.0]
    scaled: NDArray[np.uint8] = np.rint(found * (255 / limits[0])).astype(np.uint8)
    return scaled
