"""`Relabelling`: replace the label ids of a dataset by those of the model."""

from __future__ import annotations

import numpy as np


class Relabelling:
    """A lookup table of label ids.

    Args:
        labels: (n,) the new label, at least 0, of each id in 0..n-1; several ids may get the same label.
        ignore_value: is not changed.
    """

    def __init__(self, labels: np.ndarray, *, ignore_value: int) -> None:
        self.num_ids = len(labels)
        self._table = np.full(max(self.num_ids, ignore_value + 1), ignore_value)
        self._table[: self.num_ids] = labels

    def __call__(self, label_map: np.ndarray) -> np.ndarray:
        """(H, W) ids below n or the ignore value -> (H, W) labels, uint8 or, if any label is above 255, int32."""
        dtype = np.uint8 if self._table.max() < 256 else np.int32
        return self._table.astype(dtype)[label_map.astype(np.int64)]
