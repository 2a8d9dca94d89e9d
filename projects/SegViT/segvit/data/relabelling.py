"""Other label ids for the classes of a data set, before anything else reads the label map."""

from __future__ import annotations

import numpy as np


class Relabelling:
    """A table of label ids.

    Args:
        labels: (n,) the new label of each of the ids 0..n-1, at least 0; several may have the same.
        ignore_value: stays as it is.
    """

    def __init__(self, labels: np.ndarray, *, ignore_value: int) -> None:
        self.num_ids = len(labels)
        self._table = np.full(max(self.num_ids, ignore_value + 1), ignore_value)
        self._table[: self.num_ids] = labels

    def __call__(self, label_map: np.ndarray) -> np.ndarray:
        """(H, W) of ids below n or the ignore value -> (H, W) uint8, or int32 where that is too narrow."""
        return self._table.astype(np.uint8 if self._table.max() < 256 else np.int32)[label_map.astype(np.int64)]
