"""`LabelTable`: map the label ids of a distribution to class ids.

Shape shorthand in this module: H x W pixels; R raw ids, 0 to R - 1.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from segvit.errors import UserError

IGNORED = 255
NO_CLASS = -1
# How many ids an error message lists.
MAX_LISTED = 10


class LabelTable:
    """Maps raw ids to class ids 0 to `num_classes` - 1 or to the ignore value 255.

    Args:
        class_ids: raw id -> class id; any other raw id is an error.
        num_classes: at most 255.
    """

    def __init__(self, class_ids: Mapping[int, int], *, num_classes: int) -> None:
        self.num_classes = num_classes
        self._class_ids = np.full(max(class_ids) + 1, NO_CLASS, dtype=np.int16)  # (R,)
        self._class_ids[list(class_ids)] = list(class_ids.values())

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
