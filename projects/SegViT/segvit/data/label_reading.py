"""`read_label_map`: class ids as they are in the file, not as Pillow scales them; `Relabelling` replaces ids.

Shape shorthand: H x W pixels after EXIF rotation.
"""

from __future__ import annotations

import os
import re

import numpy as np
from PIL import ImageOps

from segvit.datasets.benchmarks.ade20k_full import full_ade20k_hint
from segvit.errors import UserError, listed
from segvit.image_levels import raw_mode_of
from segvit.image_reading import open_image

# They change levels, or may do so.
LOSSY_FORMATS = ("JPEG", "MPO", "JPEG2000", "WEBP", "AVIF")


def read_label_map(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) class ids, integers or booleans; the indices of a palette image.

    Raises:
        OSError: the file does not exist or cannot be opened.
        UserError: it is not an image, is damaged, in a lossy format, or has several channels, several images or
            fractional levels.
    """
    labels = read_levels(path)
    if labels.ndim != 2:
        raise UserError(
            f"{path}: the label map has {labels.shape[2]} channels (a colour image?), not single-channel class "
            "ids: convert the label maps by tools/check_dataset.py FOLDER --convert-to NEW_FOLDER"
        )
    return labels


def read_levels(path: str | os.PathLike[str]) -> np.ndarray:
    """(H, W) or (H, W, channels): the levels stored in a label map. Raises as `read_label_map` does."""
    with open_image(path) as image:
        count = getattr(image, "n_frames", 1)
        if count > 1:
            raise UserError(f"{path}: the label map has {count} images: save one of them as a single-channel PNG")
        if image.format in LOSSY_FORMATS:
            raise UserError(f"{path}: a {image.format} file changes class ids: save the label map as a PNG")
        tiles = getattr(image, "tile", None)
        arguments = tiles[0][3] if tiles else None
        raw_mode = raw_mode_of(image)
        image.load()
        if image.mode == "F":
            raise UserError(f"{path}: the label map has fractional levels; it must be a PNG whose pixels are class ids")
        levels = np.asarray(ImageOps.exif_transpose(image))
    if image.format == "PPM" and isinstance(arguments, tuple):
        return _undo_pgm_scaling(levels, arguments)
    return _undo_display_scaling(levels, raw_mode)


def ids_in(labels: np.ndarray) -> np.ndarray:
    """(n,) int64: the ids that occur in a label map, in ascending order."""
    return count_ids(labels)[0]


def count_ids(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The ids that occur in a label map of integers or booleans, in ascending order, and their pixels: (n,) int64 each.

    Ids of one or two bytes are not sorted, which takes several times as long.
    """
    if labels.dtype in (np.uint8, np.uint16):
        pixels = np.bincount(labels.ravel())
        ids = np.flatnonzero(pixels)
        return ids, pixels[ids]
    ids, pixels = np.unique(labels, return_counts=True)
    return ids.astype(np.int64), pixels


def require_ids(labels: np.ndarray, path: str | os.PathLike[str], *, num_ids: int, ignore_value: int) -> None:
    """Raise UserError, which names the file, for ids of a label map that are neither below `num_ids` nor ignored."""
    ids = ids_in(labels)
    wrong = ids[((ids < 0) | (ids >= num_ids)) & (ids != ignore_value)].tolist()
    if wrong:
        raise UserError(
            f"{path}: label ids {listed(wrong)} are neither in 0..{num_ids - 1} nor the ignore value {ignore_value}; "
            "correct the label map, or set MODEL.SEM_SEG_HEAD.NUM_CLASSES or MODEL.SEM_SEG_HEAD.IGNORE_VALUE to match "
            f"it{full_ade20k_hint(wrong, num_ids)}"
        )


class Relabelling:
    """A lookup table of label ids.

    Args:
        labels: (n,) the new label, at least 0, of each id in 0..n-1; several ids may get the same label.
        ignore_value: is not changed.

    Raises:
        UserError: the ignore value is one of the ids.
    """

    def __init__(self, labels: np.ndarray, *, ignore_value: int) -> None:
        self.num_ids = len(labels)
        if ignore_value < self.num_ids:
            raise UserError(
                f"MODEL.SEM_SEG_HEAD.IGNORE_VALUE {ignore_value} must be at least {self.num_ids}, the number of the "
                "dataset's classes: give ignored pixels an id that no class has, such as 65535, and set this key, and "
                "the dataset's ignore_label, to it"
            )
        self._table = np.full(ignore_value + 1, ignore_value)
        self._table[: self.num_ids] = labels

    def __call__(self, label_map: np.ndarray) -> np.ndarray:
        """(H, W) ids below n or the ignore value -> (H, W) labels, uint8 or, if any label is above 255, int32."""
        dtype = np.uint8 if self._table.max() < 256 else np.int32
        return self._table.astype(dtype)[label_map.astype(np.int64)]


def _undo_display_scaling(levels: np.ndarray, raw_mode: str) -> np.ndarray:
    """Pillow stretches grey levels of 2 and 4 bits to 0..255, and inverts TIFFs whose lowest level is white."""
    layout = re.fullmatch(r"(?:L|1)(?:;([24]?)(I?)R?)?", raw_mode)
    if layout is None:
        return levels
    bits, inverted = layout.groups()
    if inverted:
        levels = ~levels
    return levels // np.uint8(255 // (2 ** int(bits) - 1)) if bits else levels


def _undo_pgm_scaling(levels: np.ndarray, arguments: tuple) -> np.ndarray:
    """Pillow stretches a PGM's levels to 0..255 or 0..65535 unless its maximum is one of these."""
    maximum = arguments[1] if len(arguments) > 1 and isinstance(arguments[1], int) else 255
    white = 255 if levels.dtype == np.uint8 else 2**16 - 1
    if arguments[0] not in ("L", "I") or maximum in (0, 1, white):
        return levels
    return np.rint(levels.astype(np.float64) * maximum / white).astype(np.int32)
