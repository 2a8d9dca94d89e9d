"""Reads a pair as the dataset mapper would, and notes what the rules need to know about it.

Shape shorthand in this module: H x W: pixels of the file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import cv2
import numpy as np

from segvit.data.image_reading import read_image, read_levels
from segvit.dataset_tools.doctor.listing import Pair

THUMBNAIL_SIZE = 16


@dataclass
class Inspection:
    """What one pair holds; fields stay empty where a file could not be read, and an error says why, naming the file."""

    pair: Pair
    image_error: str = ""
    label_error: str = ""
    image_size: tuple[int, int] = (0, 0)  # (H, W)
    label_size: tuple[int, int] = (0, 0)
    # Channels of the label map: 1 where pixels are ids.
    channels: int = 1
    # Id -> number of pixels, of a label map with one channel.
    ids: dict[int, int] = field(default_factory=dict)
    digest: bytes = b""
    thumbnail: np.ndarray | None = None  # (THUMBNAIL_SIZE, THUMBNAIL_SIZE, 3) uint8

    @property
    def is_sound(self) -> bool:
        """Whether image and label map can be laid over each other."""
        readable = not self.image_error and not self.label_error
        return readable and self.channels == 1 and self.image_size == self.label_size


def inspect_pairs(pairs: Sequence[Pair], *, workers: int) -> Iterator[Inspection]:
    """Inspect pairs in threads (decoding leaves Python's lock), in their order."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(inspect_pair, pairs)


def inspect_pair(pair: Pair) -> Inspection:
    """Read both files. Nothing is raised for files that cannot be read; that is noted."""
    inspection = Inspection(pair)
    try:
        _note_image(inspection, read_image(pair.image, format="RGB"))
    except (OSError, ValueError) as error:
        inspection.image_error = str(error)
    try:
        _note_label_map(inspection, read_levels(pair.label_map))
    except (OSError, ValueError) as error:
        inspection.label_error = str(error)
    return inspection


def count_ids(label_map: np.ndarray) -> dict[int, int]:
    """Id -> number of pixels of (H, W) integers or booleans."""
    if label_map.dtype == np.uint8:
        counts = np.bincount(label_map.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in counts.nonzero()[0]}
    values, counts = np.unique(label_map, return_counts=True)
    return {int(value): int(count) for value, count in zip(values, counts)}


def _note_image(inspection: Inspection, image: np.ndarray) -> None:
    inspection.image_size = image.shape[:2]
    inspection.digest = hashlib.blake2b(np.ascontiguousarray(image), digest_size=16).digest() + bytes(
        str(image.shape), "ascii"
    )
    inspection.thumbnail = cv2.resize(image, (THUMBNAIL_SIZE, THUMBNAIL_SIZE), interpolation=cv2.INTER_AREA)


def _note_label_map(inspection: Inspection, label_map: np.ndarray) -> None:
    inspection.label_size = label_map.shape[:2]
    if label_map.ndim == 2:
        inspection.ids = count_ids(label_map)
    else:
        inspection.channels = label_map.shape[2]
