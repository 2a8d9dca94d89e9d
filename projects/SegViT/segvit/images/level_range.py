"""`LevelRange`: the levels of each channel that become 0 and 255, by percentiles.

Shape shorthand: H x W pixels, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Percentiles of larger images are those of evenly spaced pixels.
MAX_PIXELS = 1_000_000
# The range of the levels that overlays show.
SHOWN_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class LevelRange:
    """For each channel (C,), the levels that become 0 and 255."""

    low: np.ndarray
    high: np.ndarray

    def to_bytes(self, levels: np.ndarray) -> np.ndarray:
        """(H, W, C) float32 from 0 to 255, NaN where there is no data; a channel without any contrast becomes 0."""
        width = self.high - self.low
        factor = np.divide(255, width, out=np.zeros_like(width), where=width > 0)
        return np.clip((levels - self.low) * factor, 0, 255)


def range_of(levels: np.ndarray, percentiles: tuple[float, float]) -> LevelRange:
    """The range of (H, W, C) levels, without NaN; from 0 to 0 in a channel that has only NaN."""
    pixels = levels.reshape(-1, levels.shape[-1])
    pixels = pixels[:: max(len(pixels) // MAX_PIXELS, 1)]
    bounds = np.zeros((2, pixels.shape[1]), np.float32)
    for channel, column in enumerate(pixels.T):
        known = column[~np.isnan(column)]
        if known.size:
            bounds[:, channel] = np.percentile(known, percentiles)
    return LevelRange(bounds[0], bounds[1])


def shown_levels(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) as uint8: bytes as they are, floats between their percentiles."""
    if pixels.dtype == np.uint8:
        return pixels
    return range_of(pixels, SHOWN_PERCENTILES).to_bytes(pixels).round().astype(np.uint8)
