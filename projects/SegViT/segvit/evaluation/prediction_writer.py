"""`PredictionWriter`: save predictions as PNGs of class ids and of colours.

Shape shorthand: K classes, H x W pixels of a label map.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.classes.palette import Color
from segvit.label_png import write_label_png
from segvit.output_files import atomic_write
from segvit.visualization.overlays import color_labels


class PredictionWriter:
    """Writes `labels/<name>.png` (ids, with the colours as palette) and `colors/<name>.png` (RGB) into a folder.

    A name is the image's path relative to the common folder of all images, so that equal file names in different
    folders do not collide.
    """

    def __init__(self, folder: str | os.PathLike[str], *, images: Iterable[str], colors: Sequence[Color]) -> None:
        """
        Args:
            folder: created if it does not exist.
            images: all image files of the dataset, including those that other processes predict.
            colors: K RGB colours.
        """
        self._folder = Path(folder)
        self._root = os.path.commonpath([os.path.dirname(os.path.abspath(image)) for image in images])
        self._colors = colors

    def write(self, image: str, labels: np.ndarray) -> None:
        """Write the prediction (H, W) for an image file; existing files are replaced."""
        name = Path(os.path.abspath(image)).relative_to(self._root).with_suffix(".png")
        write_label_png(self._folder / "labels" / name, labels, self._colors)
        with atomic_write(self._folder / "colors" / name) as unfinished:
            Image.fromarray(color_labels(labels, self._colors)).save(unfinished, format="PNG")
