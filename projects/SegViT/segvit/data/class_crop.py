"""`MixedCrop`: random crops of several classes; `ClassCrop`: a part of them around a class drawn at random.

Shape shorthand: H x W pixels, K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from fvcore.transforms.transform import CropTransform, Transform

from segvit.data.label_reading import count_ids, ids_in

# Crops that are drawn until one shows several classes, as in Detectron2.
ATTEMPTS = 10


class MixedCrop(T.RandomCrop_CategoryAreaConstraint):
    """Detectron2's crop, with its random numbers, that counts pixels without sorting them."""

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        for _ in range(ATTEMPTS):
            transform = self.crop_aug.get_transform(sem_seg)
            crop = transform.apply_segmentation(sem_seg)
            if is_mixed(crop, ignored=self.ignored_category, max_area=self.single_category_max_area):
                break
        return transform


def is_mixed(ids: np.ndarray, *, ignored: int, max_area: float) -> bool:
    """Whether no class has more than a share `max_area` of a crop's pixels that are not ignored; 1 allows any crop."""
    if max_area >= 1:
        return True
    found, pixels = count_ids(ids)
    pixels = pixels[found != ignored]
    return len(pixels) > 1 and bool(pixels.max() < pixels.sum() * max_area)


class ClassCrop(T.Augmentation):
    """With a probability, the crop contains a random pixel of a random class of the image; else it is as given.

    Each class of an image is as likely as any other, however few pixels it has. Where the crop lies around the pixel is
    random, too.

    Args:
        crop: the crop of other images; it also gives the size.
        probability: of a crop around a class.
        num_classes: K; other labels, ignored ones among them, are not drawn.
        ignored: the label of ignored pixels, inside 0..K-1 or not.
    """

    def __init__(self, crop: MixedCrop, *, probability: float, num_classes: int, ignored: int) -> None:
        super().__init__()
        self.crop = crop
        self.probability = probability
        self.num_classes = num_classes
        self.ignored = ignored

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        if np.random.rand() >= self.probability:
            return self.crop.get_transform(image, sem_seg)
        classes = [label for label in ids_in(sem_seg) if label < self.num_classes and label != self.ignored]
        if not classes:
            return self.crop.get_transform(image, sem_seg)
        pixels = np.flatnonzero(sem_seg == np.random.choice(classes))
        pixel = np.unravel_index(np.random.choice(pixels), sem_seg.shape)
        height, width = self.crop.crop_aug.get_crop_size(sem_seg.shape)
        # The first row, and column, of all crops inside the image that contain the pixel.
        top, left = (
            np.random.randint(max(0, at - length + 1), min(at, whole - length) + 1)
            for at, length, whole in zip(pixel, (height, width), sem_seg.shape, strict=True)
        )
        return CropTransform(left, top, width, height)


class CropSettings(NamedTuple):
    """The keys of INPUT.CROP."""

    kind: str
    size: list[float]
    max_area: float
    class_probability: float
    from_file: bool


def crop_settings(cfg: CfgNode) -> CropSettings | None:
    """The crops of a config; None for whole images."""
    crop = cfg.INPUT.CROP
    if not crop.ENABLED:
        return None
    return CropSettings(crop.TYPE, crop.SIZE, crop.SINGLE_CATEGORY_MAX_AREA, crop.CLASS_PROBABILITY, crop.FROM_FILE)
