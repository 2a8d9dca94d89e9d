"""Pictures that strangers send: refused or scaled down before they cost much memory.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from segvit.data.image_reading import DAMAGE, to_colors
from segvit.errors import UserError

# Only these: Pillow starts other programs for some of the formats that it knows.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MEGA = 1_000_000


@dataclass(frozen=True)
class UploadLimits:
    """What is accepted.

    Attributes:
        max_megabytes: of the file.
        max_megapixels: larger pictures are refused, before they are decoded.
        work_megapixels: larger pictures are scaled down to this size.
    """

    max_megabytes: float = 32
    max_megapixels: float = 50
    work_megapixels: float = 1

    @property
    def max_bytes(self) -> int:
        return round(self.max_megabytes * MEGA)


@dataclass(frozen=True)
class Upload:
    """A picture to work with.

    Attributes:
        picture: (H, W, 3) uint8 RGB, upright.
        size: height and width of what was sent, upright; H and W where it was not scaled down.
    """

    picture: np.ndarray
    size: tuple[int, int]


def read_upload(path: str | os.PathLike[str], limits: UploadLimits) -> Upload:
    """A picture in a file, in any mode and of 8 or 16 bits.

    Raises:
        UserError: where it is too large, no picture or damaged; the message has the file's name without its folder.
    """
    name = Path(path).name
    if os.path.getsize(path) > limits.max_bytes:
        raise UserError(f"{name} is too large: at most {limits.max_megabytes:g} megabytes are taken")
    if os.path.getsize(path) == 0:
        raise UserError(f"{name} is empty (0 bytes): send it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # there is a limit of our own
            image = Image.open(path, formats=FORMATS)
        with image:
            _require_size(image.size, name, limits)
            image.load()
            colors = to_colors(ImageOps.exif_transpose(image), format="RGB", name=name)
    except Image.DecompressionBombError as error:
        at_least = 2 * Image.MAX_IMAGE_PIXELS / MEGA  # where Pillow refuses to open a file
        raise UserError(_too_many_pixels(name, f"more than {at_least:.0f}", limits)) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name} is no picture in one of the formats {', '.join(FORMATS)}") from error
    except DAMAGE as error:
        if str(error).startswith(name):
            raise
        raise UserError(f"{name} is damaged ({error}): send it again") from error
    return Upload(picture=_scaled(colors, limits), size=colors.shape[:2])


def _require_size(size: tuple[int, int], name: str, limits: UploadLimits) -> None:
    width, height = size
    if width * height > limits.max_megapixels * MEGA:
        raise UserError(_too_many_pixels(name, f"{width * height / MEGA:.1f} ({width} x {height})", limits))


def _too_many_pixels(name: str, count: str, limits: UploadLimits) -> str:
    return (
        f"{name} has too many megapixels: {count}, where {limits.max_megapixels:g} are allowed; "
        "scale it down, or cut it into pieces"
    )


def _scaled(colors: np.ndarray, limits: UploadLimits) -> np.ndarray:
    height, width = colors.shape[:2]
    factor = (limits.work_megapixels * MEGA / (height * width)) ** 0.5
    if factor >= 1:
        return colors
    size = (max(int(width * factor), 1), max(int(height * factor), 1))
    return np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.LANCZOS, reducing_gap=3))
