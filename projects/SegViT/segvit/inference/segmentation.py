"""`Segmentation`: the result of one image, with labels, scores, confidence and images of the classes.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from segvit.classes.class_list import ClassList
from segvit.errors import UserError
from segvit.label_png import write_label_png

# What a predictor can compute for each pixel.
Output = Literal["labels", "scores", "confidence"]

# Extensions that do not stand for a PNG.
OTHER_FORMATS = (".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy")


class Segmentation:
    """The classes of an image.

    Attributes:
        labels: (H, W) class ids from 0 to K - 1; uint8 if K <= 255, else int32.
        classes: the K names and colours.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels, classes: see above.
        compute: returns another output of the image; called when it is first asked for.
    """

    def __init__(
        self, *, image: np.ndarray, labels: np.ndarray, classes: ClassList, compute: Callable[[Output], np.ndarray]
    ) -> None:
        self.labels = labels
        self.classes = classes
        self._image = image
        self._compute = compute

    @cached_property
    def scores(self) -> np.ndarray:
        """(K, H, W) float32, whose argmax over the first axis are the labels. The first access runs the model again."""
        return self._compute("scores")

    @cached_property
    def confidence(self) -> np.ndarray:
        """(H, W) float32 from 1/K to 1, see `confidence_of_scores`. The first access runs the model again."""
        return self._compute("confidence")

    @property
    def areas(self) -> dict[str, float]:
        """Name of each class in the image -> its fraction of the pixels, the largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes.names))
        present = [int(index) for index in counts.argsort(kind="stable")[::-1] if counts[index]]
        return {self.classes.names[index]: float(counts[index] / self.labels.size) for index in present}

    def colorize(self) -> Image.Image:
        """The colours of the classes, RGB."""
        return Image.fromarray(np.asarray(self.classes.colors, dtype=np.uint8)[self.labels])

    def save_labels(self, path: str | os.PathLike[str]) -> None:
        """Write a PNG of class ids with the colours of the classes as its palette, see `write_label_png`.

        Raises UserError for the extension of another format.
        """
        suffix = Path(path).suffix.lower()
        if suffix in OTHER_FORMATS:
            raise UserError(f"{path}: class ids are written as PNG: end the name with .png")
        write_label_png(path, self.labels, self.classes.colors)

    def overlay(self, opacity: float = 0.6, *, legend: bool = False) -> Image.Image:
        """The image with the colours of its classes over it.

        Args:
            opacity: 0 shows the image alone, 1 the colours alone.
            legend: list the classes below the image; needs OpenCV and matplotlib.
        """
        if not 0 <= opacity <= 1:
            raise UserError(f"opacity {opacity} must be from 0 to 1")
        if not legend:
            return Image.blend(Image.fromarray(self._image), self.colorize(), opacity)
        from segvit.visualization.legend import LegendOverlay

        drawing = LegendOverlay(names=self.classes.names, colors=self.classes.colors, opacity=opacity)
        return Image.fromarray(drawing.draw_image(self._image, self.labels))

    def __repr__(self) -> str:
        height, width = self.labels.shape
        areas = ", ".join(f"{name} {area:.1%}" for name, area in self.areas.items())
        return f"Segmentation({height} x {width}: {areas})"
