"""Boundary IoU of every class (Cheng et al., Boundary IoU, CVPR 2021), counted over a whole data set.

A pixel belongs to the boundary of its class if anything else, or the border of the image, is within d pixels in either
direction, d being 2 % of the image's diagonal. Detectron2's `SemSegEvaluator` erodes the map of class ids as if it were
a mask, which finds the boundary on one side of every contour alone; here each class has its own.

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
        counts: (3, K) int64: boundary pixels of the ground truth, of the predictions, and of both at the same place.
    """

    def __init__(self, num_classes: int) -> None:
        self.counts = np.zeros((3, num_classes), dtype=np.int64)

    def add(self, labels: np.ndarray, truth: np.ndarray, ignored: np.ndarray) -> None:
        """Count an image.

        Args:
            labels: (H, W) predicted ids, 0 to K-1.
            truth: (H, W) true ids; any id where ignored.
            ignored: (H, W) bool. Such pixels are counted nowhere, and next to them is no boundary.
        """
        width = boundary_width(truth.shape)
        true_boundary, found_boundary = (boundary_pixels(ids, ignored, width) for ids in (truth, labels))
        shared = true_boundary & found_boundary & (labels == truth)
        num_classes = self.counts.shape[1]
        for row, ids in zip(self.counts, (truth[true_boundary], labels[found_boundary], truth[shared]), strict=True):
            row += np.bincount(ids, minlength=num_classes)


def boundary_width(size: tuple[int, int]) -> int:
    """How many pixels a boundary is wide in an image of (H, W) pixels; at least 1."""
    return max(1, round(DILATION_RATIO * math.hypot(*size)))


def boundary_pixels(ids: np.ndarray, ignored: np.ndarray, width: int) -> np.ndarray:
    """(H, W) bool: the pixels that are within `width` of another class or of the image's border, ignored ones aside.

    The highest and lowest id of a window around a pixel both equal its own where no other class is near. That serves
    all classes at once, for the price of four one-dimensional filters.
    """
    above = int(ids[~ignored].max(initial=0)) + 1  # higher than any id: what lies beyond the border
    highest, lowest = (np.where(ignored, neutral, ids).astype(np.int32) for neutral in (-1, above))
    for axis in (0, 1):
        highest = maximum_filter1d(highest, 2 * width + 1, axis=axis, mode="constant", cval=above)
        lowest = minimum_filter1d(lowest, 2 * width + 1, axis=axis, mode="constant", cval=above)
    return ~ignored & ((highest != ids) | (lowest != ids))


def boundary_iou(counts: np.ndarray) -> np.ndarray:
    """(3, K) counts to (K,) in per cent, NaN for classes that the ground truth does not have."""
    truth, found, shared = counts.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return 100 * np.where(truth > 0, shared / (truth + found - shared), np.nan)
