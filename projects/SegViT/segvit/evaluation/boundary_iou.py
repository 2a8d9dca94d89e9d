"""Boundary IoU of every class (Cheng et al., Boundary IoU, CVPR 2021), over a whole dataset.

A pixel is a boundary pixel of its class if another class or the image border is within d pixels horizontally or
vertically; d is 2 % of the image diagonal. Differs from Detectron2's `SemSegEvaluator`, which erodes the map of class
ids like a single mask, and so finds the boundary on only one side of each contour.

Shape shorthand in this module: K: classes; H, W: the size of one image's label map.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

DILATION_RATIO = 0.02


class BoundaryCounts:
    """Boundary pixels of each class, added up over images.

    Attributes:
        counts: (3, K) int64: boundary pixels of the ground truth, of the predictions, and of both at the same pixel.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((3, num_classes), dtype=np.int64)

    def add(self, labels: np.ndarray, truth: np.ndarray, ignored: np.ndarray) -> None:
        """Count an image.

        Args:
            labels: (H, W) predicted ids, 0 to K-1.
            truth: (H, W) true ids; any id where ignored.
            ignored: (H, W) bool. Such pixels are not counted, and make no boundary.
        """
        width = boundary_width(truth.shape)
        true_boundary, predicted_boundary = (boundary_pixels(ids, ignored, width) for ids in (truth, labels))
        shared = true_boundary & predicted_boundary & (labels == truth)
        num_classes = self.counts.shape[1]
        for row, ids in zip(
            self.counts, (truth[true_boundary], labels[predicted_boundary], truth[shared]), strict=True
        ):
            row += np.bincount(ids, minlength=num_classes)


def boundary_width(size: tuple[int, int]) -> int:
    """The width d of boundaries, in pixels, for an image size (H, W); at least 1."""
    return max(1, round(DILATION_RATIO * math.hypot(*size)))


def boundary_pixels(ids: np.ndarray, ignored: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: the pixels that are within `width` of another class or of the image's border, ignored ones aside.

    Far from other classes, the maximum and minimum id in the window around a pixel equal its own id. Four
    one-dimensional filters thus serve all classes at once.
    """
    above = int(ids[~ignored].max(initial=0)) + 1  # above any id: the value outside the image
    highest, lowest = (np.where(ignored, neutral, ids).astype(np.int32) for neutral in (-1, above))
    for axis in (0, 1):
        highest = maximum_filter1d(highest, 2 * width + 1, axis=axis, mode="constant", cval=above)
        lowest = minimum_filter1d(lowest, 2 * width + 1, axis=axis, mode="constant", cval=above)
    return ~ignored & ((highest != ids) | (lowest != ids))


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """(3, K) counts -> (K,) in per cent, NaN for classes without a ground-truth pixel."""
    truth, predicted, shared = counts.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * np.where(truth > 0, shared / (truth + predicted - shared), np.nan)
