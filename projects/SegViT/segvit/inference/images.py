"""Anything that holds a picture, as 8-bit colours.

Shape shorthand in this module: H x W: pixels, upright as the EXIF data say.
"""

from __future__ import annotations

import os

import numpy as np
from PIL import Image, ImageOps

from segvit.data.image_reading import read_image, to_colors
from segvit.errors import UserError

Picture = str | os.PathLike[str] | np.ndarray | Image.Image

_CHANNELS = (1, 3, 4)


def read_picture(picture: Picture, *, format: str = "RGB", array_format: str = "BGR") -> np.ndarray:
    """(H, W, 3) uint8 of a file, a Pillow image or an array.

    Files and Pillow images are turned upright as their EXIF data say. Grey, palette, CMYK and the like become colours;
    alpha is dropped, as in training; of 16 bits the upper eight are kept; of an animation the first frame is read.

    Args:
        picture: a path; a Pillow image; or an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8 or uint16.
        format: the order of the channels that is wanted, "RGB" or "BGR".
        array_format: the order of the channels of an array; its fourth channel is alpha.

    Raises:
        OSError: where a file is missing or may not be read.
        UserError: where a file is no picture or damaged, or what it holds has no agreed black and white: fractions,
            levels of more than 16 bits.
    """
    if isinstance(picture, np.ndarray):
        return _of_array(picture, format=format, array_format=array_format)
    if isinstance(picture, Image.Image):
        return to_colors(ImageOps.exif_transpose(picture), format=format, name="a Pillow image")
    if isinstance(picture, str | os.PathLike):
        return read_image(picture, format=format)
    raise UserError(f"a {type(picture).__name__} is no picture: give a path, a Pillow image or a NumPy array")


def _of_array(array: np.ndarray, *, format: str, array_format: str) -> np.ndarray:
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in _CHANNELS) or 0 in array.shape:
        raise UserError(
            f"an array of shape {array.shape} is no picture: (height, width), or (height, width, channels) with "
            f"{', '.join(map(str, _CHANNELS))} channels is needed"
        )
    if array.dtype.newbyteorder("=") not in (np.uint8, np.uint16):
        raise UserError(f"a picture of {array.dtype} is ambiguous: convert it to uint8, 0 to 255 (or uint16)")
    if array.dtype.itemsize == 2:
        array = (array >> 8).astype(np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    return array[:, :, :3] if format == array_format else array[:, :, 2::-1]
