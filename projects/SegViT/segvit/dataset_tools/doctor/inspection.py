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
from segvit.image_levels import image_levels, page_count, to_rgb, to_uint8
from segvit.image_reading import open_image
from segvit.images import ImageFormat

RGB = ImageFormat()


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
        channel_range: (2, C), the lowest and the highest level of each channel of an image that is not 8-bit RGB.
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
    channel_range: np.ndarray | None = None

    @property
    def is_sound(self) -> bool:
        """Whether both files are readable, with one id per pixel and equal sizes."""
        readable = not self.image_error and not self.label_error
        return readable and self.channels == 1 and self.image_size == self.label_size


def inspect_pairs(pairs: Sequence[Pair], *, workers: int, image_format: ImageFormat = RGB) -> Iterator[Inspection]:
    """Inspect pairs in threads (decoding releases the GIL); results keep the order of the pairs."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(partial(inspect_pair, image_format=image_format), pairs)


def inspect_pair(pair: Pair, *, image_format: ImageFormat = RGB) -> Inspection:
    """Read both files as the mapper does. An unreadable file is recorded in the result, not raised."""
    inspection = Inspection(pair)
    try:
        if image_format.is_rgb:
            _record_colors(inspection, image_format.max_level)
        else:
            _record_channels(inspection, image_format)
    except (OSError, ValueError) as error:
        inspection.image_error = str(error)
    try:
        _record_label_map(inspection, read_levels(pair.label_map))
    except (OSError, ValueError) as error:
        inspection.label_error = str(error)
    return inspection


def _record_colors(inspection: Inspection, max_level: int) -> None:
    with open_image(inspection.pair.image) as image:
        inspection.pages = page_count(image)
        levels = image_levels(image, name=inspection.pair.image, max_level=max_level)
    inspection.highest_level = int(levels.array.max(initial=0))
    if levels.largest > 255:
        inspection.white_level = max_level or levels.largest
        inspection.white_fraction = float(np.mean(levels.array > inspection.white_level))
    pixels = to_rgb(to_uint8(levels, max_level=max_level))
    _record_pixels(inspection, pixels, pixels)


def _record_channels(inspection: Inspection, image_format: ImageFormat) -> None:
    pixels = image_format.read(inspection.pair.image)
    flat = pixels.reshape(-1, pixels.shape[-1])
    inspection.channel_range = np.stack([flat.min(axis=0), flat.max(axis=0)])
    _record_pixels(inspection, pixels, image_format.to_rgb(pixels))


def _record_pixels(inspection: Inspection, pixels: np.ndarray, image: np.ndarray) -> None:
    """Size, hash and thumbnail of the model's (H, W, C) pixels, and as (H, W, 3) for people."""
    height, width = pixels.shape[:2]
    inspection.image_size = (height, width)
    inspection.digest, inspection.thumbnail = fingerprint(pixels, shown=image)


def _record_label_map(inspection: Inspection, label_map: np.ndarray) -> None:
    height, width = label_map.shape[:2]
    inspection.label_size = (height, width)
    if label_map.ndim == 2:
        ids, pixels = count_ids(label_map)
        inspection.ids = dict(zip(ids.tolist(), pixels.tolist(), strict=True))
    else:
        inspection.channels = label_map.shape[2]
