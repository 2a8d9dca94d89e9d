"""Read images, label maps and lists of a benchmark's distribution; `DamagedFileError` for what cannot be read.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from segvit.dataset_tools.preparation.distribution import Problem
from segvit.errors import UserError
from segvit.image_levels import DAMAGE, ORIENTATION

# EXIF orientations that swap width and height.
TRANSPOSED_ORIENTATIONS = (5, 6, 7, 8)


class DamagedFileError(UserError):
    """A file that cannot be read or whose content is invalid.

    Attributes:
        path: the file.
        reason: what is wrong with it.
    """

    def __init__(self, path: str | os.PathLike[str], reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[Path, str]]:
        return type(self), (self.path, self.reason)  # pickle would call the constructor with the message alone


def read_image_size(path: Path) -> tuple[int, int]:
    """(H, W) of an image after EXIF rotation, as Detectron2 reads it. Decodes the whole file, to detect damage."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(ORIENTATION)
            # Decoding a JPEG at an eighth of its size is faster and still reads the file to its end.
            image.draft(None, (width // 8, height // 8))
            image.load()
    except DAMAGE as error:
        raise DamagedFileError(path, f"not a readable image ({error})") from error
    return (width, height) if orientation in TRANSPOSED_ORIENTATIONS else (height, width)


def read_index_png(path: Path) -> np.ndarray:
    """(H, W) ids of a single-channel or palette PNG."""
    try:
        with Image.open(path) as image:
            labels = np.asarray(image)
    except DAMAGE as error:
        raise DamagedFileError(path, f"not a readable image ({error})") from error
    if labels.ndim != 2:
        raise DamagedFileError(path, f"has {labels.shape[2]} channels: a colour image, not a label map")
    return labels


def read_mat(path: Path, *, field: str, member: str = "") -> np.ndarray:
    """(H, W) array `field` of a MATLAB file, or the member of this name where the field is a structure."""
    try:
        content = scipy.io.loadmat(path, variable_names=[field])
    except Exception as error:  # SciPy raises errors of any type on damaged files
        raise DamagedFileError(path, f"not a readable MATLAB file ({error})") from error
    if field not in content:
        raise DamagedFileError(path, f"has no variable {field}")
    labels = content[field]
    if member:
        if labels.size != 1 or member not in (labels.dtype.names or ()):
            raise DamagedFileError(path, f"{field} is not a structure with {member}")
        labels = labels[member].item()
    if labels.ndim != 2 or labels.dtype.kind not in "uif":
        raise DamagedFileError(path, f"{field} is not a matrix of numbers")
    return labels


def read_split_list(path: Path, problems: list[Problem]) -> list[str]:
    """The unique stems of a split list, one per line, in order; a missing or empty list is added to `problems`."""
    try:
        stems = list(dict.fromkeys(path.read_text(encoding="utf-8").split()))
    except FileNotFoundError:
        problems.append(Problem(path, "the list of the split's images", is_missing=True))
        return []
    except (OSError, UnicodeDecodeError) as error:
        problems.append(Problem(path, f"not a readable list of images ({error})"))
        return []
    if not stems:
        problems.append(Problem(path, "an empty list of images", is_missing=True))
    return stems
