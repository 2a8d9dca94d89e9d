"""`Segmentation`: the result of one image, with labels, scores, confidence and images of the classes.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from PIL import Image

from segvit.classes.class_list import ClassList
from segvit.errors import UserError


class Segmentation:
    """The classes of an image.

    Attributes:
        labels: (H, W) class ids from 0 to K - 1; uint8 if K <= 255, else int32.
        classes: the K names and colours.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels, classes: see above.
        compute_scores: returns (K, H, W) float32; called when scores are first asked for.
    """

    def __init__(
        self, *, image: np.ndarray, labels: np.ndarray, classes: ClassList, compute_scores: Callable[[], np.ndarray]
    ) -> None:
        self.labels = labels
        self.classes = classes
        self._image = image
        self._compute_scores = compute_scores

    @cached_property
    def scores(self) -> np.ndarray:
        """(K, H, W) float32, whose argmax over the first axis are the labels. The first access runs the model again."""
        return self._compute_scores()

    @property
    def confidence(self) -> np.ndarray:
        """(H, W) float32 from 0 to 1: the part of the best class in the sum of all scores of a pixel."""
        total = self.scores.sum(axis=0)
        return self.scores.max(axis=0) / np.maximum(total, np.finfo(np.float32).tiny)

    @property
    def areas(self) -> dict[str, float]:
        """Name of each class in the image -> its fraction of the pixels, the largest first."""
        counts = np.bincount(self.labels.ravel(), minlength=len(self.classes.names))
        present = [int(index) for index in counts.argsort(kind="stable")[::-1] if counts[index]]
        return {self.classes.names[index]: float(counts[index] / self.labels.size) for index in present}

    def colorize(self) -> Image.Image:
        """The colours of the classes, RGB."""
        return Image.fromarray(np.asarray(self.classes.colors, dtype=np.uint8)[self.labels])

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
