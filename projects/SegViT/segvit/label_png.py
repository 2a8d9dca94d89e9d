"""`write_label_png`: label maps as PNGs of class ids that image viewers show in the colours of the classes.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from segvit.errors import UserError
from segvit.output_files import atomic_write

# Of ids without a class, such as ignored pixels: the first of these that is no class's colour.
COLORS_WITHOUT_CLASS = ((0, 0, 0), (224, 224, 192), (255, 255, 255))


def write_label_png(path: str | os.PathLike[str], labels: np.ndarray, colors: Sequence[tuple[int, int, int]]) -> None:
    """Write (H, W) ids atomically: 8 bits with a palette or, with more than 256 classes or ids above 255, 16 bits.

    Pixel values are the ids in both forms. The palette holds the K colours and one more for ids without a class; a PNG
    of 16 bits has no palette.

    Raises UserError for ids below 0 or above 65535.
    """
    lowest, highest = int(labels.min(initial=0)), int(labels.max(initial=0))
    if lowest < 0 or highest >= 2**16:
        raise UserError(f"{path}: ids from {lowest} to {highest} do not fit into a PNG, which holds 0 to 65535")
    if len(colors) > 256 or highest > 255:
        image = Image.fromarray(labels.astype(np.uint16))
    else:
        image = Image.fromarray(labels.astype(np.uint8))
        image.putpalette(_palette(colors).tobytes())
    with atomic_write(path) as temporary:
        image.save(temporary, format="PNG")


def _palette(colors: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """(256, 3) uint8."""
    given = {tuple(color) for color in colors}
    without_class = next((color for color in COLORS_WITHOUT_CLASS if color not in given), COLORS_WITHOUT_CLASS[0])
    palette = np.tile(np.array(without_class, dtype=np.uint8), (256, 1))
    palette[: len(colors)] = np.asarray(colors, dtype=np.uint8).reshape(-1, 3)
    return palette
