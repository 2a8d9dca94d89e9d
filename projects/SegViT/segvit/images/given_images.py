"""`load_image`: a file, a Pillow image or a NumPy array as an upright (H, W, 3) uint8 array.

Shape shorthand: H x W pixels after EXIF rotation.
"""

from __future__ import annotations

import os

import numpy as np
from PIL import Image

from segvit.errors import UserError
from segvit.image_levels import Levels, to_colors, to_uint8
from segvit.image_reading import read_image

ImageLike = str | os.PathLike[str] | np.ndarray | Image.Image

_CHANNEL_COUNTS = (1, 3, 4)


def load_image(image: ImageLike, *, format: str = "RGB", array_format: str = "BGR", max_level: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 pixels of a path, a Pillow image or an array.

    Files and Pillow images are rotated as their EXIF data say. Greyscale, palette and CMYK images are converted to
    colours; alpha is dropped, as in training; an animation is read as its first frame.

    Args:
        image: a path, a Pillow image, or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8 or uint16.
        format: the channel order of the result, "RGB" or "BGR".
        array_format: the channel order of an array; a fourth channel is alpha.
        max_level: INPUT.MAX_LEVEL, the level that becomes 255 in images of more than 8 bits; 0: the largest that their
            bits can hold, which keeps the upper 8.

    Raises:
        OSError: for a missing or unreadable file.
        UserError: for a URL, a file that is damaged or not an image, and levels without a fixed range: floats,
            and integers of more than 16 bits.
    """
    if isinstance(image, np.ndarray):
        return _array_to_colors(image, format=format, array_format=array_format, max_level=max_level)
    if isinstance(image, Image.Image):
        return to_colors(image, format=format, name="a Pillow image", max_level=max_level)
    if isinstance(image, str | os.PathLike):
        return read_image(image, format=format, max_level=max_level)
    raise UserError(
        f"a {type(image).__name__} is not an image: give a path, a Pillow image or a NumPy array (in "
        "a list, for several; SegViTPredictor.stream takes any iterable)"
    )


def _array_to_colors(array: np.ndarray, *, format: str, array_format: str, max_level: int) -> np.ndarray:
    has_channels = array.ndim == 3 and array.shape[2] in _CHANNEL_COUNTS
    if not (array.ndim == 2 or has_channels) or array.size == 0:
        counts = ", ".join(map(str, _CHANNEL_COUNTS))
        raise UserError(
            f"an array of shape {array.shape} is not an image: give (height, width) or (height, width, channels) "
            f"with {counts} channels"
        )
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise UserError(f"an image of {array.dtype} has no fixed range: convert it to uint8, 0 to 255 (or uint16)")
    if array.dtype.itemsize == 2:
        array = to_uint8(Levels(array, 2**16 - 1), name="an array", max_level=max_level)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return array[:, :, :3] if format == array_format else array[:, :, 2::-1]
