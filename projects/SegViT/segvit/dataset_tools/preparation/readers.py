"""Reads images and the label maps of distributions.

Shape shorthand in this module: H x W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from segvit.dataset_tools.preparation.damaged_file import DamagedFileError

EXIF_ORIENTATION = 0x0112
TURNED_ORIENTATIONS = (5, 6, 7, 8)
# What Pillow raises on damaged files.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_image_size(path: Path) -> tuple[int, int]:
    """(H, W) of an image as Detectron2 will read it, turned as its EXIF tag says. Decodes it, to find damage."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(EXIF_ORIENTATION)
            # A JPEG decoded at an eighth of its size takes less time, and must still be read to its end.
            image.draft(None, (width // 8, height // 8))
            image.load()
    except PILLOW_ERRORS as error:
        raise DamagedFileError(path, f"not a readable image ({error})") from error
    return (width, height) if orientation in TURNED_ORIENTATIONS else (height, width)


def read_index_png(path: Path) -> np.ndarray:
    """(H, W) ids of a single-channel or palette PNG."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except PILLOW_ERRORS as error:
        raise DamagedFileError(path, f"not a readable image ({error})") from error
    if labels.ndim != 2:
        raise DamagedFileError(path, f"has {labels.shape[2]} channels: a picture, not a label map")
    return labels


def read_mat(path: Path, *, field: str) -> np.ndarray:
    """(H, W) array `field` of a MATLAB file."""
    try:
        content = scipy.io.loadmat(path, variable_names=[field])
    except Exception as error:  # on damaged files SciPy raises whatever its parsing happens to run into
        raise DamagedFileError(path, f"not a readable MATLAB file ({error})") from error
    if field not in content:
        raise DamagedFileError(path, f"has no variable {field}")
    labels = content[field]
    if labels.ndim != 2 or labels.dtype.kind not in "uif":
        raise DamagedFileError(path, f"{field} is not a matrix of numbers")
    return labels
