"""`UploadLimits` and `Upload`: what the page accepts, and an image that it has decoded.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from segvit.images.channel_files import ARRAY_EXTENSIONS

# No other formats: for some, Pillow starts external programs. Arrays are read by NumPy.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", *ARRAY_EXTENSIONS)
MEGA = 1_000_000


@dataclass(frozen=True)
class UploadLimits:
    """Limits on uploaded files.

    Attributes:
        max_megabytes: larger files are refused.
        max_megapixels: larger images are refused before they are decoded.
        max_side: images of more rows or columns are refused, likewise. The page's own images are JPEGs, which have at
            most 65,500 of them.
        work_megapixels: larger images are scaled down to this size.
        seconds: a file that takes longer to decode is refused.
    """

    max_megabytes: float = 32
    max_megapixels: float = 50
    max_side: int = 30_000
    work_megapixels: float = 1
    seconds: float = 10

    @property
    def max_bytes(self) -> int:
        return round(self.max_megabytes * MEGA)


@dataclass(frozen=True)
class Upload:
    """An uploaded image.

    Attributes:
        pixels: (H, W, C) in the model's `ImageFormat`, upright, possibly scaled down.
        image: the same for people, (H, W, 3) uint8 RGB.
        original_size: height and width of the upright image before scaling.
        notes: what makes the result doubtful, such as levels that become almost black.
    """

    pixels: np.ndarray
    image: np.ndarray
    original_size: tuple[int, int]
    notes: tuple[str, ...] = ()
