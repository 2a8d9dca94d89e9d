"""`read_upload`: reads an untrusted image file; oversized ones are refused or scaled down before they take memory.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.errors import UserError
from segvit.image_levels import DAMAGE, to_colors

# No other formats: for some, Pillow starts external programs.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MEGA = 1_000_000


@dataclass(frozen=True)
class UploadLimits:
    """Limits on uploaded files.

    Attributes:
        max_megabytes: larger files are refused.
        max_megapixels: larger images are refused before they are decoded.
        work_megapixels: larger images are scaled down to this size.
    """

    max_megabytes: float = 32
    max_megapixels: float = 50
    work_megapixels: float = 1

    @property
    def max_bytes(self) -> int:
        return round(self.max_megabytes * MEGA)


@dataclass(frozen=True)
class Upload:
    """An uploaded image.

    Attributes:
        image: (H, W, 3) uint8 RGB, upright, possibly scaled down.
        original_size: height and width of the upright image before scaling.
    """

    image: np.ndarray
    original_size: tuple[int, int]


def read_upload(path: str | os.PathLike[str], limits: UploadLimits, *, max_level: int = 0) -> Upload:
    """Read an image file of any mode with 8 or 16 bits; `max_level` is INPUT.MAX_LEVEL, see `read_image`.

    Raises:
        UserError: for a file that is too large, damaged or not an image; the message names the file without its folder.
    """
    name = Path(path).name
    if os.path.getsize(path) > limits.max_bytes:
        raise UserError(f"{name} is too large: the limit is {limits.max_megabytes:g} megabytes")
    if os.path.getsize(path) == 0:
        raise UserError(f"{name} is empty (0 bytes): send it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # `limits` replaces it.
            image = Image.open(path, formats=FORMATS)
        with image:
            _check_size(image.size, name, limits)
            colors = to_colors(image, format="RGB", name=name, max_level=max_level)
    except Image.DecompressionBombError as error:
        pillow_limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / MEGA  # Pillow refuses to open larger files.
        raise UserError(_too_many_pixels(name, f"more than {pillow_limit:.0f}", limits)) from error
    except Image.UnidentifiedImageError as error:
        raise UserError(f"{name} is not an image in one of the formats {', '.join(FORMATS)}") from error
    except DAMAGE as error:
        if str(error).startswith(name):
            raise
        raise UserError(f"{name} is damaged ({error}): send it again") from error
    height, width = colors.shape[:2]
    return Upload(image=_scale_down(colors, limits), original_size=(height, width))


def _check_size(size: tuple[int, int], name: str, limits: UploadLimits) -> None:
    width, height = size
    if width * height > limits.max_megapixels * MEGA:
        raise UserError(_too_many_pixels(name, f"{width * height / MEGA:.1f} ({width} x {height})", limits))


def _too_many_pixels(name: str, count: str, limits: UploadLimits) -> str:
    return f"{name} has too many megapixels: {count}; the limit is {limits.max_megapixels:g}: scale it down, or crop it"


def _scale_down(colors: np.ndarray, limits: UploadLimits) -> np.ndarray:
    height, width = colors.shape[:2]
    factor = (limits.work_megapixels * MEGA / (height * width)) ** 0.5
    if factor >= 1:
        return colors
    size = (max(int(width * factor), 1), max(int(height * factor), 1))
    return np.asarray(Image.fromarray(colors).resize(size, Image.Resampling.LANCZOS, reducing_gap=3))
