"""Pixels and images by class.

Shape shorthand in this module: K: classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segvit.dataset_tools.doctor.inspection import Inspection


@dataclass(frozen=True)
class ClassCounts:
    """Of one split: (K,) int64 pixels and images by class, and the ignored and all pixels."""

    pixels: np.ndarray
    images: np.ndarray
    ignored: int
    total: int

    @property
    def ignored_share(self) -> float:
        return self.ignored / max(self.total, 1)

    @property
    def pixel_shares(self) -> np.ndarray:
        """(K,) shares of the pixels that count."""
        return self.pixels / max(self.pixels.sum(), 1)


def count_classes(inspections: Sequence[Inspection], *, num_classes: int, ignore_value: int) -> ClassCounts:
    """Count over the label maps that could be read; ids out of range enter the total alone."""
    pixels, images = np.zeros((2, num_classes), dtype=np.int64)
    ignored = total = 0
    for inspection in inspections:
        for label_id, count in inspection.ids.items():
            total += count
            if label_id == ignore_value:
                ignored += count
            elif 0 <= label_id < num_classes:
                pixels[label_id] += count
                images[label_id] += 1
    return ClassCounts(pixels, images, ignored, total)
