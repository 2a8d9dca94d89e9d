"""`ImageFormat`: how image files and arrays become the pixels of a model, in training, checks and prediction alike.

Shape shorthand: H x W pixels after EXIF rotation, C channels.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from yacs.config import CfgNode

from segvit.errors import UserError
from segvit.image_levels import Levels, to_uint8
from segvit.image_reading import read_image
from segvit.images.channel_files import ARRAY_EXTENSIONS, StoredLevels, levels_of_array, levels_of_image, read_channels
from segvit.images.given_images import ImageLike, load_image
from segvit.images.level_range import LevelRange, range_of, shown_levels


@dataclass(frozen=True)
class ImageFormat:
    """The channels of images and the range of their levels. Pixels are (H, W, C), uint8 or float32.

    Attributes:
        channels: C, INPUT.CHANNELS.
        order: INPUT.FORMAT, the order of three channels.
        levels: INPUT.LEVELS. "8bit": uint8, `max_level` becomes 255. "raw": float32, the levels as they are stored.
            "percentile": float32, the `percentiles` of each channel of an image become 0 and 255.
        max_level: INPUT.MAX_LEVEL; 0 for the largest level of the file's bits.
        percentiles: INPUT.PERCENTILES.
        fill: the level of each channel in pixels without data.
        shown: INPUT.SHOWN_CHANNELS, three or one that overlays show; empty for the first three, or the first.
    """

    channels: int = 3
    order: str = "RGB"
    levels: str = "8bit"
    max_level: int = 0
    percentiles: tuple[float, float] = (1.0, 99.0)
    fill: tuple[float, ...] = (0.0, 0.0, 0.0)
    shown: tuple[int, ...] = ()

    @classmethod
    def from_json(cls, text: str) -> ImageFormat:
        """The format whose attributes are in a JSON object."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {name: tuple(value) for name, value in values.items() if isinstance(value, list)})

    @property
    def is_rgb(self) -> bool:
        """Whether images are colours of 8 bits."""
        return self.channels == 3 and self.levels == "8bit"

    @property
    def dtype(self) -> type[np.generic]:
        return np.uint8 if self.levels == "8bit" else np.float32

    @property
    def _accepted_level(self) -> int:
        """INPUT.MAX_LEVEL for readers that refuse levels above 16 bits without it."""
        return self.max_level if self.levels == "8bit" else 2**31 - 1

    def read(self, path: str | os.PathLike[str]) -> np.ndarray:
        """The pixels of a file.

        Raises:
            OSError: the file does not exist or cannot be opened.
            UserError: it has another number of channels or kind of levels, is not an image, or is damaged.
        """
        if self.is_rgb and not os.fspath(path).lower().endswith(ARRAY_EXTENSIONS):
            return read_image(path, format=self.order, max_level=self.max_level)
        return self._pixels(read_channels(path, self.channels, max_level=self._accepted_level), path)

    def load(self, image: ImageLike, *, array_format: str = "BGR") -> np.ndarray:
        """The pixels of a path, a Pillow image or an array, whose three channels have the order `array_format`.

        Raises:
            OSError: the file does not exist or cannot be opened.
            UserError: it is not an image of this format.
        """
        if isinstance(image, str | os.PathLike):
            return self.read(image)
        if self.is_rgb:
            return load_image(image, format=self.order, array_format=array_format, max_level=self.max_level)
        if isinstance(image, Image.Image):
            stored = levels_of_image(image, self.channels, name="a Pillow image", max_level=self._accepted_level)
            return self._pixels(stored, "a Pillow image")
        if not isinstance(image, np.ndarray):
            raise UserError(f"a {type(image).__name__} is not an image: give a path, a Pillow image or a NumPy array")
        return self._pixels(levels_of_array(image, self.channels, name="an array"), "an array", order=array_format)

    def scaled(self, stored: StoredLevels, name: object, level_range: LevelRange | None = None) -> np.ndarray:
        """(H, W, C) stored levels in this range; percentiles may be those of another part of the same image."""
        array = stored.array
        if self.levels == "8bit":
            if array.dtype.kind == "f" or array.min(initial=0) < 0:
                kind = "floating-point levels" if array.dtype.kind == "f" else "levels below 0"
                raise UserError(f"{name}: the image has {kind}: set INPUT.LEVELS to 'raw' or 'percentile'")
            return to_uint8(Levels(array, stored.largest), name=name, max_level=self.max_level)
        # Pixels without data are NaN until the range is known.
        floats = array.astype(np.float32)
        floats[~np.isfinite(floats) if stored.missing is None else ~np.isfinite(floats) | (array == stored.missing)] = (
            np.nan
        )
        if self.levels == "percentile":
            floats = (level_range or range_of(floats, self.percentiles)).to_bytes(floats)
        np.copyto(floats, np.asarray(self.fill, np.float32), where=np.isnan(floats))
        return floats

    def to_rgb(self, pixels: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB of pixels, for people: three channels, or one in grey."""
        if self.is_rgb and not self.shown:
            return pixels if self.order == "RGB" else pixels[:, :, ::-1]
        chosen = list(self.shown or (range(3) if self.channels >= 3 else (0,)))
        if self.channels == 3 and self.order == "BGR":
            chosen = [2 - channel for channel in chosen]
        shown = shown_levels(pixels[:, :, chosen])
        return shown if len(chosen) == 3 else np.repeat(shown, 3, axis=2)

    def _pixels(self, stored: StoredLevels, name: object, *, order: str = "RGB") -> np.ndarray:
        pixels = self.scaled(stored, name)
        return pixels if self.channels != 3 or order == self.order else pixels[:, :, ::-1]


def image_format_of(cfg: CfgNode) -> ImageFormat:
    """The format of a config's images."""
    channels = cfg.INPUT.CHANNELS
    shown = tuple(cfg.INPUT.SHOWN_CHANNELS)
    if len(shown) not in (0, 1, 3) or any(not 0 <= channel < channels for channel in shown):
        raise UserError(f"INPUT.SHOWN_CHANNELS {list(shown)} must be one or three numbers from 0 to {channels - 1}")
    low, high = cfg.INPUT.PERCENTILES
    return ImageFormat(
        channels=channels,
        order=cfg.INPUT.FORMAT,
        levels=cfg.INPUT.LEVELS,
        max_level=cfg.INPUT.MAX_LEVEL,
        percentiles=(float(low), float(high)),
        fill=tuple(map(float, cfg.MODEL.PIXEL_MEAN)),
        shown=shown,
    )
