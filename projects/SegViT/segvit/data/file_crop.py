"""`FileCrop`: training crops that are read from the files of images larger than memory; needs the extra [geo].

Shape shorthand: H x W pixels of the file, h x w of the crop, C channels.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from detectron2.config import CfgNode

from segvit.data.augmentation import ResizeWithRatio, random_resize
from segvit.data.channel_augmentation import ResizeTransform
from segvit.data.class_crop import ATTEMPTS, crop_settings, is_mixed
from segvit.errors import UserError
from segvit.images import ImageFormat, image_format_of
from segvit.images.raster_image import RasterImage, import_rasterio, open_raster


class Crop(NamedTuple):
    """A crop (h, w, C) and its stored class ids (h, w), with the (H, W) of its image."""

    image: np.ndarray
    label_map: np.ndarray
    size: tuple[int, int]


class FileCrop:
    """Reads a random part of an image and its label map, and resizes it to a crop.

    The part is the crop's size over a random ratio, in place of resizing the whole image and cutting a crop out of it.
    The image has its own resolution at ratio 1: INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN do not apply.

    Args:
        image_format: of the images.
        size: (h, w).
        ratios: draws the ratio.
        single_category_max_area: see INPUT.CROP.SINGLE_CATEGORY_MAX_AREA.
        ignore_value: of label maps.
    """

    def __init__(
        self,
        *,
        image_format: ImageFormat,
        size: tuple[int, int],
        ratios: ResizeWithRatio,
        single_category_max_area: float,
        ignore_value: int,
    ) -> None:
        self.image_format = image_format
        self.size = size
        self.ratios = ratios
        self.single_category_max_area = single_category_max_area
        self.ignore_value = ignore_value

    def read(self, image_file: str | os.PathLike[str], label_file: str | os.PathLike[str]) -> Crop:
        """A crop, drawn by NumPy's global generator; smaller than (h, w) for smaller images.

        Raises:
            UserError: a file is no image, or their sizes differ.
        """
        rasterio = import_rasterio(label_file)
        with RasterImage(image_file, self.image_format) as image, _open_labels(label_file) as labels:
            if labels.shape != image.size:
                raise UserError(
                    f"{label_file}: the label map is {labels.shape}, its image {image_file} is {image.size}"
                )
            # The part of the file that becomes the crop.
            ratio = self.ratios.draw_ratio()
            target = [
                min(crop, max(round(whole * ratio), 1)) for crop, whole in zip(self.size, image.size, strict=True)
            ]
            part = [min(max(round(length / ratio), 1), whole) for length, whole in zip(target, image.size, strict=True)]
            for _ in range(ATTEMPTS):
                top, left = (
                    np.random.randint(whole - length + 1) for length, whole in zip(part, image.size, strict=True)
                )
                ids = labels.read(1, window=rasterio.windows.Window(left, top, part[1], part[0]))
                if is_mixed(ids, ignored=self.ignore_value, max_area=self.single_category_max_area):
                    break
            pixels = image.read(top, left, part[0], part[1])
        resize = ResizeTransform(part[0], part[1], target[0], target[1])
        floats = ids if ids.dtype == np.uint8 else ids.astype(np.float32)
        return Crop(resize.apply_image(pixels), resize.apply_segmentation(floats).astype(ids.dtype), image.size)


def build_file_crop(cfg: CfgNode) -> FileCrop | None:
    """The reader of INPUT.CROP.FROM_FILE; None if images are read as a whole.

    Raises UserError for keys that need the whole image.
    """
    crop = crop_settings(cfg)
    if crop is None or not crop.from_file:
        return None
    if crop.class_probability or crop.kind != "absolute":
        raise UserError(
            "INPUT.CROP.FROM_FILE True reads a part of each image: set INPUT.CROP.TYPE to 'absolute' and "
            "INPUT.CROP.CLASS_PROBABILITY to 0.0, which need the whole image otherwise"
        )
    return FileCrop(
        image_format=image_format_of(cfg),
        size=(int(crop.size[0]), int(crop.size[1])),
        ratios=random_resize(cfg),
        single_category_max_area=crop.max_area,
        ignore_value=cfg.MODEL.SEM_SEG_HEAD.IGNORE_VALUE,
    )


def _open_labels(path: str | os.PathLike[str]) -> Any:
    """A label map, open."""
    rasterio = import_rasterio(path)
    try:
        file = open_raster(path)
    except rasterio.errors.RasterioError as error:
        raise UserError(f"{path}: not an image, or damaged ({error})") from error
    if file.count != 1:
        raise UserError(f"{path}: the label map has {file.count} channels, not single-channel class ids")
    return file
