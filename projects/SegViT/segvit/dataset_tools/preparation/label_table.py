"""`LabelTable`: map the label ids of a distribution to class ids.

Shape shorthand: H x W pixels, R raw ids from 0 to R - 1, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from segvit.datasets.registration import Color
from segvit.errors import UserError

IGNORED = 255
NO_CLASS = -1
# How many ids an error message lists.
MAX_LISTED = 10


class LabelTable:
    """Maps raw ids to class ids 0 to K - 1 or to the ignore value 255.

    Args:
        class_ids: raw id -> class id; any other raw id is an error.
        colors: of the classes, RGB; at most 255.
    """

    def __init__(self, class_ids: Mapping[int, int], *, colors: Sequence[Color]) -> None:
        self.colors = colors
        self._class_ids = np.full(max(class_ids) + 1, NO_CLASS, dtype=np.int16)  # (R,)
        self._class_ids[list(class_ids)] = list(class_ids.values())

    @property
    def num_classes(self) -> int:
        return len(self.colors)

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Raw ids (H, W) -> class ids (H, W) uint8. Raises UserError, listing the ids, for ids without a class."""
        known = (raw >= 0) & (raw < len(self._class_ids)) & (raw == np.floor(raw))
        labels = self._class_ids[np.where(known, raw, 0).astype(np.int64)]
        wrong = ~known | (labels == NO_CLASS)
        if wrong.any():
            ids = np.unique(raw[wrong]).tolist()
            listed = ", ".join(map(str, ids[:MAX_LISTED])) + (", ..." if len(ids) > MAX_LISTED else "")
            raise UserError(f"label ids {listed} do not occur in this dataset")
        return labels.astype(np.uint8)
