"""`RasterImage`: any part of a TIFF in the format of a model, without reading the rest; needs the extra [geo].

Shape shorthand: H x W pixels of the file, h x w of a part, C channels.
"""

from __future__ import annotations

import os
import warnings
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import tifffile

from segvit.errors import UserError
from segvit.images import ImageFormat
from segvit.images.channel_files import TIFF_EXTENSIONS, StoredLevels
from segvit.images.level_range import LevelRange, range_of

# The tags of a TIFF that place its pixels on a map: scale, tie points, matrix.
PLACE_TAGS = (33550, 33922, 34264)
# Decoded blocks of the file that GDAL keeps, in bytes: rasterio's `Env` passes an integer on as it is.
CACHE_BYTES = 32 * 2**20
# A whole image is read in parts of about so many columns and pixels, or of the file's blocks if they are larger.
PART_WIDTH, PART_PIXELS = 512, 2**20
# Longest side of the reduced image whose percentiles scale the whole.
REDUCED_SIDE = 1024


def is_georeferenced(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a TIFF whose pixels have a place on a map; False for files that cannot be read."""
    if Path(path).suffix.lower() not in TIFF_EXTENSIONS:
        return False
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            return any(tag in page.tags for tag in PLACE_TAGS)
    except Exception:  # a damaged TIFF can raise anything; reading it names the damage
        return False


def import_rasterio(path: object) -> Any:
    """The module. Raises UserError, naming the extra, where it is not installed."""
    try:
        import rasterio.windows
    except ImportError as error:
        raise UserError(f"{path}: reading parts of a TIFF needs rasterio: pip install 'segvit[geo]'") from error
    return rasterio


def open_raster(path: str | os.PathLike[str]) -> Any:
    """A file, open in rasterio; one without a place on a map is as good."""
    rasterio = import_rasterio(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path)


class RasterImage:
    """An open TIFF; use it in `with`.

    Args:
        path: of the file.
        image_format: of the pixels that `read` returns.

    Attributes:
        size: (H, W).

    Raises:
        UserError: it is not an image, has another number of channels, or rasterio is not installed.
    """

    def __init__(self, path: str | os.PathLike[str], image_format: ImageFormat) -> None:
        self.path = path
        self.image_format = image_format
        rasterio = import_rasterio(path)
        self._environment = rasterio.Env(GDAL_CACHEMAX=CACHE_BYTES)
        self._environment.__enter__()
        try:
            self._file = open_raster(path)
            self._indexes = self._channel_indexes()
        except rasterio.errors.RasterioError as error:
            self._environment.__exit__(None, None, None)
            raise UserError(f"{path}: not a TIFF, or damaged ({error})") from error
        except UserError:
            self._environment.__exit__(None, None, None)
            raise
        self.size = (int(self._file.height), int(self._file.width))

    def _channel_indexes(self) -> list[int]:
        """The bands of the file that are the C channels, from 1."""
        count, channels = self._file.count, self.image_format.channels
        alpha = self._file.colorinterp[-1].name == "alpha"
        if channels == 3 and count == 1:
            return [1, 1, 1]
        if count != channels and not (channels == 3 and count == 4 and alpha):
            raise UserError(
                f"{self.path}: the image has {count} channel(s), and INPUT.CHANNELS is {channels}: train with {count}"
            )
        order = range(1, channels + 1)
        return list(order[::-1] if channels == 3 and self.image_format.order == "BGR" else order)

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """(h, w, C): a part of the image, in `image_format`."""
        return self._pixels(self._levels(window=self._window(top, left, height, width)))

    def reduced(self, longest: int) -> np.ndarray:
        """(h, w, C): the whole image with this longest side, or less."""
        return self._pixels(self._reduced_levels(longest))

    def has_data(self, top: int, left: int, height: int, width: int) -> np.ndarray | None:
        """(h, w) bool: pixels that have data in any channel; None if the file has no pixels without data."""
        if all(flags[0].name == "all_valid" for flags in self._file.mask_flag_enums):
            return None
        return self._file.dataset_mask(window=self._window(top, left, height, width)) != 0

    def place(self) -> dict[str, Any]:
        """The arguments of `rasterio.open` for another file at the same place."""
        return {"crs": self._file.crs, "transform": self._file.transform}

    @cached_property
    def _range(self) -> LevelRange | None:
        """The percentiles of the whole image, by a reduced copy of it."""
        if self.image_format.levels != "percentile":
            return None
        levels = self._reduced_levels(REDUCED_SIDE).array.astype(np.float32)
        if self._file.nodata is not None:
            levels[levels == self._file.nodata] = np.nan
        levels[~np.isfinite(levels)] = np.nan
        return range_of(levels, self.image_format.percentiles)

    def _pixels(self, stored: StoredLevels) -> np.ndarray:
        return self.image_format.scaled(stored, self.path, self._range)

    def _reduced_levels(self, longest: int) -> StoredLevels:
        """Evenly spaced rows and columns, of a reduced copy in the file if there is one, else of its blocks in turn.

        GDAL would read row after row, and decode the blocks of each row again where they do not fit its cache.
        """
        size = reduced_size(self.size, longest)
        if self._file.overviews(1):
            return self._levels(out_shape=size)
        rows, columns = (_evenly_spaced(length, count) for length, count in zip(self.size, size))
        block_height, block_width = self._file.block_shapes[0]
        width = -(-PART_WIDTH // block_width) * block_width
        height = max(PART_PIXELS // width // block_height, 1) * block_height
        bands = []
        for top in range(0, self.size[0], height):
            of_band = rows[(rows >= top) & (rows < top + height)] - top
            parts = []
            for left in range(0, self.size[1], width):
                of_part = columns[(columns >= left) & (columns < left + width)] - left
                window = self._window(top, left, min(height, self.size[0] - top), min(width, self.size[1] - left))
                levels = self._levels(window=window)
                parts.append(levels.array[of_band][:, of_part])
            bands.append(np.concatenate(parts, axis=1))
        return levels._replace(array=np.concatenate(bands))

    def _levels(self, *, window: Any = None, out_shape: tuple[int, int] | None = None) -> StoredLevels:
        shape = None if out_shape is None else (len(self._indexes), *out_shape)
        try:
            array = self._file.read(indexes=self._indexes, window=window, out_shape=shape)
        except import_rasterio(self.path).errors.RasterioError as error:
            raise UserError(f"{self.path}: damaged ({error}): copy it again") from error
        largest = int(np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else 0
        return StoredLevels(np.moveaxis(array, 0, -1), largest, self._file.nodata)

    def _window(self, top: int, left: int, height: int, width: int) -> Any:
        return import_rasterio(self.path).windows.Window(left, top, width, height)

    def __enter__(self) -> RasterImage:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._environment.__exit__(kind, error, traceback)


def _evenly_spaced(length: int, count: int) -> np.ndarray:
    """(count,) positions below `length`: the centres of as many equal parts."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.int64)


def reduced_size(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """(height, width) with this longest side; the same size if it is not longer."""
    factor = min(longest / max(size), 1.0)
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)
