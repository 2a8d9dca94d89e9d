"""`Separation`: how well a value per pixel tells two kinds of pixels apart, as the area under the ROC curve (AUROC).

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Intervals of equal width that values from 0 to 1 are counted in. Values in one of them count as equal, so the AUROC is
# exact but for pairs of pixels whose values differ by less than 1.6e-5.
NUM_BINS = 2**16


class Separation:
    """Histograms of a value over pixels that should have high values, and over those that should have low ones.

    Attributes:
        counts: (2, NUM_BINS) int64, pixels by kind (row 1 should be high) and value.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(2, NUM_BINS, dtype=torch.int64)

    def add(self, values: Tensor, kinds: Tensor) -> None:
        """Count the pixels of an image.

        By one `scatter_add_`, for which the host does not wait.

        Args:
            values: (H, W); those below 0 and above 1 count as 0 and 1.
            kinds: (H, W) integers on the same device, 1 for pixels that should be high, 0 for low ones; others do not
                count.
        """
        bins = (values.float() * NUM_BINS).long().clamp_(0, NUM_BINS - 1)
        cells = (kinds.long() * NUM_BINS + bins).masked_fill_((kinds != 0) & (kinds != 1), 2 * NUM_BINS).flatten()
        counts = torch.zeros(2 * NUM_BINS + 1, dtype=torch.int64, device=cells.device)
        counts.scatter_add_(0, cells, torch.ones_like(counts[:1]).expand(len(cells)))
        self.counts = self.counts.to(cells.device) + counts[:-1].view(2, NUM_BINS)

    def auroc(self) -> float:
        """The probability that a pixel of the high kind has the higher value of the two, equal ones counted half.

        From 0 to 1; NaN if there is no pixel of one kind. It is the statistic of Mann and Whitney over all pairs.
        """
        low, high = self.counts.cpu().double()
        pairs = float(low.sum() * high.sum())
        return float((high * (low.cumsum(0) - low / 2)).sum()) / pairs if pairs else math.nan
