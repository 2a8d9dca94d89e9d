"""`resized_planes`: the channels of an image, resized one by one by Pillow.

Shape shorthand: H x W pixels, C channels; h x w pixels after the resize.
"""

from __future__ import annotations

import numpy as np
from PIL import Image


def resized_planes(
    pixels: np.ndarray, *, size: tuple[int, int], method: Image.Resampling | int, reducing_gap: float | None = None
) -> list[np.ndarray]:
    """(H, W, C) uint8 or float32 -> C arrays (h, w) of the same type.

    Pillow takes no other numbers of channels, and would copy a colour image to four bytes per pixel.

    Args:
        size: (h, w).
        method, reducing_gap: of `PIL.Image.Image.resize`.
    """
    return [_resized(pixels[:, :, channel], size, method, reducing_gap) for channel in range(pixels.shape[2])]


def _resized(
    plane: np.ndarray, size: tuple[int, int], method: Image.Resampling | int, reducing_gap: float | None
) -> np.ndarray:
    """(H, W) -> (h, w). A contiguous copy of a large plane lives no longer than this call."""
    if plane.shape == size:
        return plane
    image = Image.fromarray(np.ascontiguousarray(plane))
    return np.asarray(image.resize(size[::-1], method, reducing_gap=reducing_gap))
