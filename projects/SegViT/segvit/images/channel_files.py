"""`read_channels`: the stored levels of TIFF, NumPy and other image files, with all their channels.

Shape shorthand: H x W pixels after EXIF rotation, C channels.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from segvit.errors import UserError
from segvit.image_levels import ORIENTATION, UPRIGHT, content_of, image_levels, raw_mode_of, to_rgb
from segvit.image_reading import open_image

TIFF_EXTENSIONS = (".tif", ".tiff")
ARRAY_EXTENSIONS = (".npy",)
# Values of the TIFF tag ExtraSamples for alpha.
ALPHA = (1, 2)
# Bands of Pillow's modes that become others when they are decoded.
DECODED_BANDS = {"P": 3, "PA": 3, "HSV": 3, "YCbCr": 3, "LAB": 3}


class StoredLevels(NamedTuple):
    """The levels of an image as they are stored.

    Attributes:
        array: (H, W, C), integers or floats.
        largest: the largest level that the bits of an integer sample can hold.
        missing: the level of pixels without data; None if no level stands for them.
    """

    array: np.ndarray
    largest: int
    missing: float | None = None


class StoredForm(NamedTuple):
    """What a file holds: (H, W) before rotation, the number of channels, and the type of its levels."""

    size: tuple[int, int]
    channels: int
    dtype: np.dtype


def read_channels(path: str | os.PathLike[str], channels: int, *, max_level: int = 0) -> StoredLevels:
    """The levels of a file with C channels.

    TIFFs are read by tifffile, `.npy` files by NumPy, as (H, W), (H, W, C) or (C, H, W), and other files by Pillow. For
    three channels, one channel is repeated and alpha is dropped, as in files of 8 bits.

    Args:
        path: of the file.
        channels: C.
        max_level: INPUT.MAX_LEVEL; needed for grey levels above 65535 in files that Pillow reads.

    Raises:
        OSError: the file does not exist or cannot be opened.
        UserError: it has another number of channels, is not an image, or is damaged.
    """
    suffix = Path(path).suffix.lower()
    if suffix in ARRAY_EXTENSIONS:
        return levels_of_array(_read_array(path), channels, name=path)
    if suffix in TIFF_EXTENSIONS and "://" not in os.fspath(path):
        return _read_tiff(path, channels)
    with open_image(path) as image:
        return levels_of_image(image, channels, name=path, max_level=max_level)


def stored_form(path: str | os.PathLike[str]) -> StoredForm:
    """What the header of a file says. Raises as `read_channels` does.

    Of an array (C, H, W) or (H, W, C), the channels are the shorter end.
    """
    suffix = Path(path).suffix.lower()
    if suffix in ARRAY_EXTENSIONS:
        array = _read_array(path, mmap_mode="r")
        if array.ndim == 2:
            return StoredForm((array.shape[0], array.shape[1]), 1, array.dtype)
        axis = 0 if array.shape[0] < array.shape[-1] else -1
        height, width = array.shape[1:] if axis == 0 else array.shape[:2]
        return StoredForm((height, width), array.shape[axis], array.dtype)
    if suffix in TIFF_EXTENSIONS:
        import tifffile

        try:
            with tifffile.TiffFile(path) as file:
                page: Any = file.pages[0]
                is_palette = page.photometric == tifffile.PHOTOMETRIC.PALETTE
                channels, dtype = (3, np.uint8) if is_palette else (page.samplesperpixel, page.dtype)
                return StoredForm((page.imagelength, page.imagewidth), channels, np.dtype(dtype))
        except (tifffile.TiffFileError, ValueError) as error:
            raise UserError(f"{path}: not a TIFF, or damaged ({error})") from error
    with open_image(path) as image:
        is_deep = image.mode.startswith("I") or ";16" in raw_mode_of(image)
        bands = DECODED_BANDS.get(image.mode, len(image.getbands()))
        return StoredForm((image.height, image.width), bands, np.dtype(np.uint16 if is_deep else np.uint8))


def levels_of_array(array: np.ndarray, channels: int, *, name: object) -> StoredLevels:
    """An array (H, W), (H, W, C) or (C, H, W) of numbers, (H, W, C) where both would fit. Errors begin with `name`."""
    if array.dtype == np.bool_:
        array = array.astype(np.uint8)
    if array.dtype.kind not in "uif":
        raise UserError(f"{name}: an image of {array.dtype} has no levels: give integers or floats")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 3 and array.shape[2] != channels and array.shape[0] == channels:
        array = array.transpose(1, 2, 0)
    return _of_shape(array, channels, name, missing=None)


def levels_of_image(image: Image.Image, channels: int, *, name: object, max_level: int = 0) -> StoredLevels:
    """The levels of a Pillow image that is open but not loaded. Errors begin with `name`."""
    bands = DECODED_BANDS.get(image.mode, len(image.getbands()))
    if channels in (2, 4) and bands == channels:
        return _with_alpha(image, channels, name)
    if channels == 1 and bands > 1:
        raise UserError(_wrong_channels(name, bands, channels))
    levels = image_levels(image, name=name, max_level=max_level)
    return _of_shape(levels.array, channels, name, missing=None)._replace(largest=levels.largest)


def _with_alpha(image: Image.Image, channels: int, name: object) -> StoredLevels:
    """Four or two channels, alpha among them."""
    if ";16" not in raw_mode_of(image):
        return StoredLevels(np.asarray(ImageOps.exif_transpose(image)), 255)
    import cv2  # needed for these files alone

    orientation = image.getexif().get(ORIENTATION, 1)
    array = cv2.imdecode(np.frombuffer(content_of(image), dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3 or array.shape[2] != channels or orientation != 1:
        raise UserError(f"{name}: {channels} channels of 16 bits cannot be read from this file: save it as a TIFF")
    return StoredLevels(array[:, :, [2, 1, 0, 3]], 2**16 - 1)


def _read_array(path: str | os.PathLike[str], *, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    try:
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise UserError(f"{path}: not a NumPy array, or damaged ({error}): save it again by numpy.save") from error


def _read_tiff(path: str | os.PathLike[str], channels: int) -> StoredLevels:
    import tifffile

    with open(path, "rb"):  # an error of the file system names the file
        pass
    try:
        with tifffile.TiffFile(path) as file:
            page: Any = file.pages[0]
            array, alpha = page.asarray(), list(page.extrasamples or ())
            if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
                array, alpha = np.moveaxis(page.colormap[:, array] >> 8, 0, -1).astype(np.uint8), []
            if page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and array.ndim == 3:
                array = np.moveaxis(array, 0, -1)
            orientation = page.tags.valueof(ORIENTATION, 1)
            missing = float(page.nodata) if 42113 in page.tags else None
    except (OSError, MemoryError):
        raise
    except Exception as error:  # a damaged TIFF can raise anything
        array, missing, orientation, alpha = _read_by_gdal(path, error), None, 1, []
    if channels == 3 and array.ndim == 3 and array.shape[2] == 4 and alpha[-1:] and alpha[-1] in ALPHA:
        array = array[:, :, :3]
    levels = _of_shape(array, channels, path, missing=missing)
    return levels._replace(array=UPRIGHT.get(orientation, lambda unchanged: unchanged)(levels.array))


def _read_by_gdal(path: str | os.PathLike[str], error: Exception) -> np.ndarray:
    """(H, W, C) of a TIFF that tifffile cannot decode, such as one with LZW compression."""
    try:
        import rasterio
    except ImportError:
        raise UserError(
            f"{path}: tifffile cannot read it ({error}). If the file is sound, its compression needs rasterio: "
            "pip install 'segvit[geo]'"
        ) from error
    try:
        with rasterio.open(path) as file:
            return np.moveaxis(file.read(), 0, -1)
    except rasterio.errors.RasterioError as failure:
        raise UserError(f"{path}: not a TIFF, or damaged ({error}; {failure})") from failure


def _of_shape(array: np.ndarray, channels: int, name: object, *, missing: float | None) -> StoredLevels:
    """Check the shape, and repeat a single channel where three are asked for."""
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise UserError(f"{name}: an array of shape {array.shape} is not an image: (height, width, channels) is one")
    array = array[:, :, None] if array.ndim == 2 else array
    if channels == 3 and array.shape[2] == 1:
        array = to_rgb(array[:, :, 0])
    if array.shape[2] != channels:
        raise UserError(_wrong_channels(name, array.shape[2], channels))
    largest = int(np.iinfo(array.dtype).max) if array.dtype.kind in "ui" else 0
    return StoredLevels(array, largest, missing)


def _wrong_channels(name: object, found: int, channels: int) -> str:
    return (
        f"{name}: the image has {found} channel{'s' if found > 1 else ''}, and INPUT.CHANNELS is {channels}: "
        f"train with {found} (check_dataset.py --measure-channels writes the keys), or convert the image"
    )
