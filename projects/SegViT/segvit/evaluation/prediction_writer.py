"""`PredictionWriter`: save predictions as PNGs of class ids and of colours.

Shape shorthand: K classes, H x W pixels of a label map.
"""

from __future__ import annotations

import os
from collections import Counter
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
    folders do not collide; a.jpg and a.tif of one folder become a.jpg.png and a.tif.png.
    """

    def __init__(self, folder: str | os.PathLike[str], *, images: Iterable[str], colors: Sequence[Color]) -> None:
        """
        Args:
            folder: created if it does not exist.
            images: all image files of the dataset, including those that other processes predict.
            colors: K RGB colours.
        """
        self._folder = Path(folder)
        paths = [Path(os.path.abspath(image)) for image in images]
        self._root = os.path.commonpath([path.parent for path in paths])
        names = Counter(path.with_suffix("") for path in paths)
        self._repeated = {name for name, count in names.items() if count > 1}
        self._colors = colors

    def write(self, image: str, labels: np.ndarray) -> None:
        """Write the prediction (H, W) for an image file; existing files are replaced."""
        path = Path(os.path.abspath(image))
        stem = path if path.with_suffix("") in self._repeated else path.with_suffix("")
        name = stem.relative_to(self._root).with_name(f"{stem.name}.png")
        write_label_png(self._folder / "labels" / name, labels, self._colors)
        with atomic_write(self._folder / "colors" / name) as unfinished:
            Image.fromarray(color_labels(labels, self._colors)).save(unfinished, format="PNG")
