"""Images that look alike: `fingerprint` of an image, and `similar` for pairs of thumbnails.

Shape shorthand: M and N images, T values of a thumbnail.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

THUMBNAIL_SIZE = 16
# Near duplicates differ by less: root mean square difference of two thumbnails, in grey levels. On CamVid a frame saved
# again as a JPEG of quality 30 differs by 1.1, two frames one second apart from a standing car by 3.7.
MAX_DIFFERENCE = 1.5
# Thumbnails with a lower standard deviation are nearly uniform and cannot distinguish images.
MIN_CONTRAST = 10.0
# Pairs of images compared at once, to bound the memory of the distance matrix.
PAIRS_AT_ONCE = 2**22


class Fingerprint(NamedTuple):
    """A hash of an image's pixels and size, and its thumbnail (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3) uint8."""

    digest: bytes
    thumbnail: np.ndarray


def fingerprint(image: np.ndarray, *, shown: np.ndarray | None = None) -> Fingerprint:
    """Of an image (H, W, C), and for its thumbnail as people see it, (H, W, 3) uint8; by default the same."""
    content = hashlib.blake2b(image.tobytes(), digest_size=16)
    thumbnail = cv2.resize(
        image if shown is None else shown, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), interpolation=cv2.INTER_AREA
    )
    return Fingerprint(content.digest() + str(image.shape).encode(), thumbnail)


def similar(first: Sequence[np.ndarray], second: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each of N thumbnails in turn: the positions of those among M that are nearly identical, nearest first.

    Yields (position in `second`, positions in `first`), where there is any.
    """
    usable_first, first_values = _values(first)  # (M, T)
    usable_second, second_values = _values(second)  # (N, T)
    if not len(usable_first) or not len(usable_second):
        return
    first_norms = (first_values**2).sum(axis=1)
    limit = MAX_DIFFERENCE**2 * first_values.shape[1]
    batch_size = max(PAIRS_AT_ONCE // len(usable_first), 1)
    for start in range(0, len(usable_second), batch_size):
        batch = second_values[start : start + batch_size]
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab for all pairs at once.
        distances = (batch**2).sum(axis=1)[:, None] + first_norms - 2 * batch @ first_values.T  # (batch, M)
        for row in np.flatnonzero((distances <= limit).any(axis=1)):
            near = np.flatnonzero(distances[row] <= limit)
            nearest_first = near[np.argsort(distances[row, near], kind="stable")]
            yield usable_second[start + row], usable_first[nearest_first]


def _values(thumbnails: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The positions of thumbnails that have contrast, and their values (N, T) float32, centred at 0.

    Centring keeps the squares small: float32 would lose the differences between large ones.
    """
    usable = [position for position, thumbnail in enumerate(thumbnails) if thumbnail.std() >= MIN_CONTRAST]
    values = np.array([thumbnails[position].ravel() for position in usable], dtype=np.float32)
    return np.array(usable, dtype=np.int64), values - 128
