"""`resized_channels`: an image at the test size, resized as by Detectron2's `ResizeShortestEdge`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from segvit.images.plane_resizing import resized_planes
from segvit.modeling.postprocessing.image_sizes import Size


def input_size(height: int, width: int, *, short: int, longest: int) -> tuple[int, int]:
    """(height, width) with a short side of `short` pixels, or a long side of `longest` if it would be longer.

    A very long and narrow image keeps at least one row or column. 0 for `short` keeps the size.
    """
    if not short:
        return height, width
    scale = short / min(height, width)
    size = (float(short), scale * width) if height < width else (scale * height, float(short))
    if max(size) > longest:
        scale = longest / max(size)
        size = (size[0] * scale, size[1] * scale)
    return max(int(size[0] + 0.5), 1), max(int(size[1] + 0.5), 1)


def resized_channels(pixels: np.ndarray, *, size: Size) -> np.ndarray:
    """(H, W, C) uint8 or float32 -> (C, h, w) of `size`, bilinear."""
    return np.stack(resized_planes(pixels, size=size, method=Image.Resampling.BILINEAR))
