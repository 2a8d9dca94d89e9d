"""Resizing and photometric distortion of images with any number of channels, of 8 bits or floating point.

Shape shorthand: H x W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.data import transforms as T
from fvcore.transforms.transform import NoOpTransform, Transform

from segvit.images.plane_resizing import resized_planes

# Ranges at strength 1. SSD adds up to 32 of 255 levels, which is 0.56 of ImageNet's standard deviation.
SHIFT = 0.56
CONTRAST = 0.5


class ResizeTransform(T.ResizeTransform):
    """Detectron2's `ResizeTransform`, also for images that are not RGB of 8 bits: it resizes their channels one by one.

    Detectron2 resizes floats without antialiasing, and takes four channels of 8 bits for colours with alpha.
    """

    def apply_image(self, img: np.ndarray, interp: Any = None) -> np.ndarray:
        """(H, W, C) or (H, W) -> the new size."""
        if img.ndim != 3 or (img.dtype == np.uint8 and img.shape[2] == 3):
            return super().apply_image(img, interp)
        method = self.interp if interp is None else interp
        return np.stack(resized_planes(img, size=(self.new_h, self.new_w), method=method), axis=2)


class ChannelTransform(Transform):
    """A fixed shift and contrast of each channel: (level - mean) * contrast + mean + shift.

    Args:
        mean, contrast, shift: (C,) each; shifts are in levels.
    """

    def __init__(self, *, mean: np.ndarray, contrast: np.ndarray, shift: np.ndarray) -> None:
        super().__init__()
        self.contrast = contrast.astype(np.float32)
        self.offset = (mean * (1 - contrast) + shift).astype(np.float32)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """(H, W, C) -> the same shape and type."""
        changed = img * self.contrast + self.offset
        return np.clip(changed.round(), 0, 255).astype(np.uint8) if img.dtype == np.uint8 else changed

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        return coords

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return segmentation


class ChannelDistortion(T.Augmentation):
    """Random brightness and contrast of each channel, each with probability 0.5: SSD's distortion without colours.

    Hue and saturation exist for RGB alone. A change of all channels, and one of each by half as much, are added:
    sensors share their light and differ in their response.

    Args:
        mean, std: of each channel, MODEL.PIXEL_MEAN and MODEL.PIXEL_STD.
        strength: scales the ranges, from 0 (no change) to 2.
    """

    def __init__(self, *, mean: Sequence[float], std: Sequence[float], strength: float) -> None:
        super().__init__()
        self.mean = np.asarray(mean, dtype=np.float64)
        self.std = np.asarray(std, dtype=np.float64)
        self.strength = strength

    def get_transform(self, image: np.ndarray) -> Transform:
        shift, contrast = self._draw(SHIFT), 1 + self._draw(CONTRAST)
        if not shift.any() and (contrast == 1).all():
            return NoOpTransform()
        return ChannelTransform(mean=self.mean, contrast=np.maximum(contrast, 0), shift=shift * self.std)

    def _draw(self, limit: float) -> np.ndarray:
        """(C,) numbers up to 1.5 times the limit, or zeros."""
        common = np.random.uniform(-limit, limit)
        own = np.random.uniform(-limit / 2, limit / 2, size=len(self.mean))
        return (common + own) * self.strength * (np.random.rand() < 0.5)
