"""The upright levels of an opened image, and their conversion to (H, W, 3) uint8. Imports neither torch nor Detectron2.

Shape shorthand: H x W pixels after EXIF rotation, C channels.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from segvit.errors import UserError

# What Pillow raises on files that are not images, or are damaged, truncated or extremely large.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# The EXIF tag.
ORIENTATION = 0x0112
# The TIFF tag of pages that are no image of their own, and its bits.
NEW_SUBFILE_TYPE = 254
REDUCED_OR_MASK = 0b101
# How to rotate an array by EXIF orientation.
UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.swapaxes(0, 1),
    6: lambda array: array.swapaxes(0, 1)[:, ::-1],
    7: lambda array: array.swapaxes(0, 1)[::-1, ::-1],
    8: lambda array: array.swapaxes(0, 1)[::-1],
}
# Images whose highest level is at most this fraction of the white level are almost black, with 16 grey levels or fewer.
DARK_FRACTION = 1 / 16
# Images with a larger fraction of levels above INPUT.MAX_LEVEL are mostly white.
WHITE_FRACTION = 0.5

logger = logging.getLogger(__name__)
_reported: set[tuple[str, str]] = set()


class Levels(NamedTuple):
    """The levels of an image before they are scaled to 8 bits.

    Attributes:
        array: (H, W), or (H, W, 3) in RGB order; integers from 0.
        largest: the largest level that the file's bits per sample can hold.
    """

    array: np.ndarray
    largest: int


def to_colors(image: Image.Image, *, format: str, name: object, max_level: int = 0) -> np.ndarray:
    """Rotate and convert an image as `read_image` does; its errors begin with `name`.

    Give an image that is open but not loaded: Pillow reduces colours of 16 bits to 8 when it loads them.
    """
    levels = image_levels(image, name=name, max_level=max_level)
    colors = to_rgb(to_uint8(levels, name=name, max_level=max_level))
    return colors if format == "RGB" else colors[:, :, ::-1]


def to_rgb(levels: np.ndarray) -> np.ndarray:
    """(H, W) grey levels or (H, W, 3) -> (H, W, 3)."""
    return np.repeat(levels[..., None], 3, axis=-1) if levels.ndim == 2 else levels


def image_levels(image: Image.Image, *, name: object, max_level: int = 0) -> Levels:
    """The upright levels of an image that is open but not loaded. Raises UserError for levels without a fixed range."""
    _report_pages(page_count(image), name)
    raw_mode = raw_mode_of(image)
    is_deep = ";16" in raw_mode and not image.mode.startswith("I")
    content = content_of(image) if is_deep else b""
    orientation = image.getexif().get(ORIENTATION, 1) if is_deep else 1  # loaded TIFFs have lost it
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise UserError(
            f"{name}: the image has floating-point levels: set INPUT.LEVELS to 'raw' or 'percentile', or convert it to "
            "8 or 16 bits"
        )
    if image.mode.startswith("I"):
        return Levels(_integer_levels(image, name, max_level), 2 ** (12 if raw_mode.startswith("I;12") else 16) - 1)
    colors = np.asarray(image if image.mode in ("RGB", "L") else image.convert("RGB"))
    if is_deep:
        return Levels(_deep_colors(content, orientation, upper_bits=colors), 2**16 - 1)
    return Levels(colors, 255)


def to_uint8(levels: Levels, *, name: object = None, max_level: int = 0) -> np.ndarray:
    """Scale levels so that `max_level`, or the largest possible level, becomes 255; levels of 8 bits are not changed.

    With a `name`, logs a warning, once for each folder, if the result is almost black or mostly white.
    """
    array, largest = levels
    if largest <= 255:
        return array.astype(np.uint8, copy=False)
    white = max_level or largest
    if name is not None:
        _report_unsuitable_max_level(array, white, name)
    table_size = max(2**16, int(array.max(initial=0)) + 1)
    if table_size > 2**16:
        return np.minimum(array.astype(np.int64) * 256 // (white + 1), 255).astype(np.uint8)
    return np.minimum(np.arange(table_size) * 256 // (white + 1), 255).astype(np.uint8)[array]


def raw_mode_of(image: Image.Image) -> str:
    """Pillow's name for the layout of the file's samples, such as "L;4" or "RGB;16B"; empty once loaded."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0][3]
    first = arguments[0] if isinstance(arguments, tuple) and arguments else arguments
    return first if isinstance(first, str) else ""


def page_count(image: Image.Image) -> int:
    """The images in a file that is not loaded: TIFF pages or frames of an animation.

    Reduced copies and masks in a TIFF, and the further views in a camera's MPO, do not count.
    """
    frames = getattr(image, "n_frames", 1)
    if image.format == "MPO" or frames == 1:
        return 1
    if not isinstance(image, TiffImagePlugin.TiffImageFile):
        return frames
    pages = 0
    for index in range(frames):
        image.seek(index)
        pages += not image.tag_v2.get(NEW_SUBFILE_TYPE, 0) & REDUCED_OR_MASK
    image.seek(0)
    return pages


def content_of(image: Image.Image) -> bytes:
    """The file of an image that is not loaded."""
    assert isinstance(image, ImageFile.ImageFile) and image.fp is not None, "the image is not loaded"
    position = image.fp.tell()
    image.fp.seek(0)
    content = image.fp.read()
    image.fp.seek(position)
    return content


def _deep_colors(content: bytes, orientation: int, *, upper_bits: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint16 RGB levels of a file with 16 bits per channel, decoded by OpenCV: Pillow has no such mode.

    Its result, which may be rotated already, is used if it agrees with `upper_bits`, the upright (H, W, 3) uint8 that
    Pillow reads; else the lower 8 bits are lost, as in 16-bit CMYK.
    """
    import cv2  # needed for these files alone

    array = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if array is not None and array.dtype == np.uint16 and array.ndim == 3 and array.shape[2] >= 3:
        array = array[:, :, 2::-1]
        for rotate in (lambda unchanged: unchanged, UPRIGHT.get(orientation, lambda unchanged: unchanged)):
            if np.array_equal(rotate(array) >> 8, upper_bits):
                return rotate(array)
    return upper_bits.astype(np.uint16) * 257


def _integer_levels(image: Image.Image, name: object, max_level: int) -> np.ndarray:
    """(H, W) of a grey image with more than 8 bits; uint16, or int32 for levels above 65535."""
    array = np.asarray(image)
    if array.min(initial=0) < 0:
        raise UserError(f"{name}: the image has levels below 0: convert it to 8 or 16 bits, unsigned")
    if array.max(initial=0) < 2**16:
        return array.astype(np.uint16)
    if not max_level:
        raise UserError(
            f"{name}: the image has levels up to {array.max()}: set INPUT.MAX_LEVEL to the level that is white"
        )
    return array


def _report_pages(count: int, name: object) -> None:
    if count > 1 and _is_new("pages", name):
        logger.warning(
            "%s: the file has %d images, such as pages or frames, and only the first is used: save each as a file of "
            "its own to use all",
            name,
            count,
        )


def _is_new(kind: str, name: object) -> bool:
    """Whether no file of the same folder has been reported for the same reason."""
    key = (kind, os.path.dirname(str(name)))
    is_new = key not in _reported
    _reported.add(key)
    return is_new


def _report_unsuitable_max_level(array: np.ndarray, white: int, name: object) -> None:
    highest = int(array.max(initial=0))
    if 0 < highest <= white * DARK_FRACTION:
        kind = "almost black"
    elif highest > white and np.count_nonzero(array > white) > WHITE_FRACTION * array.size:
        kind = "mostly white"
    else:
        return
    if _is_new(kind, name):
        logger.warning(
            "%s: the image becomes %s: its highest level is %d, and level %d becomes white. Set INPUT.MAX_LEVEL to the "
            "highest level of these files (4095 for 12 bits, 255 for 8 bits stored in 16)",
            name,
            kind,
            highest,
            white,
        )
