"""Reads pictures and label maps; whatever is wrong with a file is told with its name.

Shape shorthand in this module: H x W: pixels, upright as the EXIF data say.
"""

from __future__ import annotations

import os

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

from segvit.errors import UserError

# What Pillow raises on files that are no picture, damaged, cut off or absurdly large.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# Levels of 16 bits; Pillow, whose modes begin with "I" then, would clip all above 255 to white.
MAX_LEVEL = 2**16 - 1


def read_image(path: str | os.PathLike[str], *, format: str) -> np.ndarray:
    """(H, W, 3) uint8 in the order `format`, "RGB" or "BGR".

    Grey, palette and CMYK are converted, alpha is dropped, and of 16 bits the upper eight are kept.

    Raises:
        OSError: where the file is missing or may not be read.
        UserError: where it is no picture, damaged, or has fractions or levels of more than 16 bits.
    """
    return to_colors(open_upright(path), format=format, name=path)


def to_colors(image: Image.Image, *, format: str, name: object) -> np.ndarray:
    """(H, W, 3) uint8 of a picture in any mode, as `read_image` gives it. Raises UserError likewise, with `name`."""
    if image.mode == "F" or image.mode.startswith("I"):
        levels = np.asarray(image)
        if image.mode == "F" or levels.min() < 0 or levels.max() > MAX_LEVEL:
            raise UserError(
                f"{name}: a picture whose levels are not whole numbers from 0 to 255 or {MAX_LEVEL}: convert it to "
                "8 bits, choosing which of its levels become 0 and 255"
            )
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    colors = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return colors if format == "RGB" else colors[:, :, ::-1]


def read_label_map(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) class ids, integers or booleans; of a palette picture the indices.

    Raises:
        OSError: see `read_image`.
        UserError: likewise, and where the picture has several channels or fractions.
    """
    labels = read_levels(path)
    if labels.ndim != 2:
        raise UserError(
            f"{path}: the label map has {labels.shape[2]} channels (a colour picture?); "
            "it must be a single-channel PNG whose pixels are class ids"
        )
    return labels


def read_levels(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) or (H, W, channels): the file's own numbers, in whatever mode. Raises as `read_label_map`."""
    image = open_upright(path)
    if image.mode == "F":
        raise UserError(f"{path}: the label map holds fractions; it must be a PNG whose pixels are class ids")
    return np.asarray(image)


def open_upright(path: str | os.PathLike[str]) -> Image.Image:
    """A picture in its own mode, decoded. Raises OSError and ValueError as `read_image` does, but takes any mode."""
    try:
        with PathManager.open(os.fspath(path), "rb") as file:
            image = Image.open(file)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise  # the file system's, which names the file
        raise UserError(f"{path}: {_damage(path, error)}") from error
    return image


def _damage(path: str | os.PathLike[str], error: Exception) -> str:
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "empty (0 bytes): fetch it again, or take it out of the data set"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large ({error}): cut it into pieces"
    reason = "no format of pictures that Pillow knows" if isinstance(error, UnidentifiedImageError) else error
    return f"no picture, or a damaged one ({reason}): fetch it again, or take it out of the data set"
