"""Read images and label maps with EXIF rotation; errors name the file.

Shape shorthand in this module: H x W: pixels after EXIF rotation.
"""

from __future__ import annotations

import os

import numpy as np
from detectron2.utils.file_io import PathManager
from PIL import Image, ImageOps, UnidentifiedImageError

from segvit.errors import UserError

# What Pillow raises on files that are not images, or are damaged, truncated or extremely large.
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
# The largest 16-bit level. Pillow's own conversion of 16-bit images (modes "I...") would clip levels above 255.
MAX_LEVEL = 2**16 - 1


def read_image(path: str | os.PathLike[str], *, format: str) -> np.ndarray:
    """(H, W, 3) uint8 in the order `format`, "RGB" or "BGR".

    Grey, palette and CMYK images are converted, alpha is dropped, and of 16 bits the upper eight are kept.

    Raises:
        OSError: the file does not exist or cannot be opened.
        UserError: it is not an image, is damaged, or has fractional levels or levels of more than 16 bits.
    """
    return to_colors(open_upright(path), format=format, name=path)


def to_colors(image: Image.Image, *, format: str, name: object) -> np.ndarray:
    """Convert an image of any mode, as `read_image` does; its errors begin with `name`."""
    if image.mode == "F" or image.mode.startswith("I"):
        levels = np.asarray(image)
        if image.mode == "F" or levels.min() < 0 or levels.max() > MAX_LEVEL:
            raise UserError(
                f"{name}: the image's levels are not integers from 0 to 255 or {MAX_LEVEL}: convert it to 8 bits, "
                "choosing which levels become 0 and 255"
            )
        image = Image.fromarray((levels >> 8).astype(np.uint8))
    colors = np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    return colors if format == "RGB" else colors[:, :, ::-1]


def read_label_map(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) class ids, integers or booleans; the indices of a palette image.

    Raises:
        OSError: see `read_image`.
        UserError: see `read_image`; also if the file has several channels or fractional levels.
    """
    labels = read_levels(path)
    if labels.ndim != 2:
        raise UserError(
            f"{path}: the label map has {labels.shape[2]} channels (a colour image?); "
            "it must be a single-channel PNG whose pixels are class ids"
        )
    return labels


def read_levels(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) or (H, W, channels): the unconverted levels of a label map. Raises as `read_label_map`."""
    image = open_upright(path)
    if image.mode == "F":
        raise UserError(f"{path}: the label map has fractional levels; it must be a PNG whose pixels are class ids")
    return np.asarray(image)


def open_upright(path: str | os.PathLike[str]) -> Image.Image:
    """A decoded image in its own mode, with EXIF rotation. Raises OSError and UserError as `read_image` does."""
    try:
        with PathManager.open(os.fspath(path), "rb") as file:
            image = Image.open(file)
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the file system, which names the file
        raise UserError(f"{path}: {_damage(path, error)}") from error
    return image


def _damage(path: str | os.PathLike[str], error: Exception) -> str:
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "empty (0 bytes): download it again, or remove it from the dataset"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large ({error}): cut it into tiles"
    reason = "in no image format that Pillow reads" if isinstance(error, UnidentifiedImageError) else error
    return f"not an image, or damaged ({reason}): download it again, or remove it from the dataset"
