"""`Inspection`: the facts about one pair that the rules need; files are read as the dataset mapper reads them.

Shape shorthand: H x W pixels of the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from segvit.data.label_reading import count_ids, read_levels
from segvit.dataset_tools.doctor.checked_dataset import Pair
from segvit.dataset_tools.near_duplicates import fingerprint
from segvit.image_levels import Levels, image_levels, page_count, to_rgb, to_uint8
from segvit.image_reading import open_image


@dataclass
class Inspection:
    """The content of one pair. Fields of an unreadable file stay empty, and its error message names the file.

    Attributes:
        channels: of the label map; 1 means that pixels are ids.
        ids: id -> number of pixels, of a label map with one channel.
        digest: hash of the decoded image.
        thumbnail: (16, 16, 3) uint8, see `near_duplicates`.
        pages: images in the image file, of which the first is used.
        highest_level: the highest level of the image before it is scaled to 8 bits.
        white_level: the level that becomes 255.
        white_fraction: fraction of the levels above it.
    """

    pair: Pair
    image_error: str = ""
    label_error: str = ""
    image_size: tuple[int, int] = (0, 0)  # (H, W)
    label_size: tuple[int, int] = (0, 0)
    channels: int = 1
    ids: dict[int, int] = field(default_factory=dict)
    digest: bytes = b""
    thumbnail: np.ndarray | None = None
    pages: int = 1
    highest_level: int = 0
    white_level: int = 255
    white_fraction: float = 0.0

    @property
    def is_sound(self) -> bool:
        """Whether both files are readable, with one id per pixel and equal sizes."""
        readable = not self.image_error and not self.label_error
        return readable and self.channels == 1 and self.image_size == self.label_size


def inspect_pairs(pairs: Sequence[Pair], *, workers: int, max_level: int = 0) -> Iterator[Inspection]:
    """Inspect pairs in threads (decoding releases the GIL); results keep the order of the pairs."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(partial(inspect_pair, max_level=max_level), pairs)


def inspect_pair(pair: Pair, *, max_level: int = 0) -> Inspection:
    """Read both files; `max_level` is INPUT.MAX_LEVEL. An unreadable file is recorded in the result, not raised."""
    inspection = Inspection(pair)
    try:
        with open_image(pair.image) as image:
            inspection.pages = page_count(image)
            levels = image_levels(image, name=pair.image, max_level=max_level)
        _record_image(inspection, levels, max_level)
    except (OSError, ValueError) as error:
        inspection.image_error = str(error)
    try:
        _record_label_map(inspection, read_levels(pair.label_map))
    except (OSError, ValueError) as error:
        inspection.label_error = str(error)
    return inspection


def _record_image(inspection: Inspection, levels: Levels, max_level: int) -> None:
    inspection.highest_level = int(levels.array.max(initial=0))
    if levels.largest > 255:
        inspection.white_level = max_level or levels.largest
        inspection.white_fraction = float(np.mean(levels.array > inspection.white_level))
    image = to_rgb(to_uint8(levels, max_level=max_level))
    height, width = image.shape[:2]
    inspection.image_size = (height, width)
    inspection.digest, inspection.thumbnail = fingerprint(image)


def _record_label_map(inspection: Inspection, label_map: np.ndarray) -> None:
    height, width = label_map.shape[:2]
    inspection.label_size = (height, width)
    if label_map.ndim == 2:
        ids, pixels = count_ids(label_map)
        inspection.ids = dict(zip(ids.tolist(), pixels.tolist(), strict=True))
    else:
        inspection.channels = label_map.shape[2]
