"""`read_image`: files as upright (H, W, 3) uint8 arrays; levels of more than 8 bits are scaled by INPUT.MAX_LEVEL.

Shape shorthand: H x W pixels after EXIF rotation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from segvit.errors import UserError
from segvit.image_levels import DAMAGE, to_colors

# Begins the addresses of rows in tables of Hugging Face datasets (`datasets/hugging_face.py`).
ROWS = "hf-rows:"
URL_PREFIXES = ("http://", "https://", "ftp://")


def read_image(path: str | os.PathLike[str], *, format: str, max_level: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 in the order `format`, "RGB" or "BGR".

    Grey, palette and CMYK images are converted, and alpha is dropped. Of an animation the first frame is read.

    Args:
        max_level: INPUT.MAX_LEVEL, the level that becomes 255 in files of more than 8 bits per sample. 0: the largest
            level of the file's bits, which keeps the upper 8 of them. Higher levels become 255, too.

    Raises:
        OSError: the file does not exist or cannot be opened.
        UserError: it is a URL, not an image, or damaged, or its levels are fractional or have no fixed range.
    """
    with open_image(path) as image:
        return to_colors(image, format=format, name=path, max_level=max_level)


@contextmanager
def open_image(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """An image file, open but not loaded. Errors, also those in the `with` block, name the file.

    Raises:
        OSError: the file does not exist or cannot be opened.
        UserError: it is a URL, not an image, or damaged.
    """
    if os.fspath(path).lower().startswith(URL_PREFIXES):
        raise UserError(f"{path}: URLs are not read: download it first, and name the file")
    try:
        with _open(os.fspath(path)) as file:
            yield Image.open(file)
    except UserError:
        raise
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno:
            raise  # an error of the file system, which names the file
        raise UserError(f"{path}: {_describe_damage(path, error)}") from error


def _open(path: str) -> IO[bytes]:
    """Open a file; addresses such as "s3://..." and rows of tables by the handlers of Detectron2's `PathManager`."""
    if "://" not in path and not path.startswith(ROWS):
        return open(path, "rb")
    from detectron2.utils.file_io import PathManager

    return PathManager.open(path, "rb")


def _describe_damage(path: str | os.PathLike[str], error: Exception) -> str:
    if os.path.isfile(path) and os.path.getsize(path) == 0:
        return "empty (0 bytes): download it again, or remove it from the dataset"
    if isinstance(error, Image.DecompressionBombError):
        return f"too large ({error}): cut it into tiles"
    channels, dtype = _tiff_channels(path) if isinstance(error, UnidentifiedImageError) else (0, "")
    if channels:
        remedy = "check_dataset.py FOLDER --measure-channels NEW_CONFIG.yaml writes a config that reads it"
        return f"a TIFF with {channels} channels of {dtype}: {remedy} (docs/channels.md)"
    reason = "in no image format that Pillow reads" if isinstance(error, UnidentifiedImageError) else error
    return f"not an image, or damaged ({reason}): download it again, or remove it from the dataset"


def _tiff_channels(path: str | os.PathLike[str]) -> tuple[int, str]:
    """The channels of a TIFF and the type of its levels, if INPUT.CHANNELS or INPUT.LEVELS can read it; else 0."""
    import tifffile  # needed for these files alone

    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            channels, dtype = int(page.samplesperpixel), str(page.dtype)
    except (OSError, ValueError, tifffile.TiffFileError):
        return 0, ""
    return (0, "") if (channels, dtype) in ((1, "uint8"), (3, "uint8"), (4, "uint8")) else (channels, dtype)
