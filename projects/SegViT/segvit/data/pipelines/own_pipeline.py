"""`OwnPipeline`: a pipeline of the user's as an augmentation of image and label map.

Shape shorthand: H x W pixels before the pipeline, h x w after it, C channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import Transform

from segvit.data.label_reading import ids_in
from segvit.data.pipelines.loading import KEY, Pipeline
from segvit.errors import UserError

REMEDY_FOR_LABELS = "label maps need nearest-neighbour interpolation (mask_interpolation 0, tv_tensors.Mask)"


class FixedResult(Transform):
    """The image and the label map that a pipeline made, in place of those that it got."""

    def __init__(self, image: np.ndarray, labels: np.ndarray) -> None:
        super().__init__()
        self.image = image
        self.labels = labels

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        return self.image

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        return self.labels

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        raise NotImplementedError("a pipeline says nothing of coordinates")


class OwnPipeline(T.Augmentation):
    """Apply a pipeline to image and label map alike.

    Random numbers come from the sample's seed: Python's, NumPy's and torch's generators have it already, and pipelines
    with generators of their own (Albumentations) are seeded here. So a resumed run sees the same images.

    The pipeline gets labels that are larger by one, with 0 for ignored pixels: what rotations and paddings fill in by
    default is then ignored. The ignore value itself, as a fill, is understood, too.

    Args:
        pipeline: of torchvision.transforms.v2, called with an image and a mask as tv_tensors; or called as
            `pipeline(image=..., mask=...)` with arrays (H, W, C) and (H, W), as Albumentations', and returning a dict.
        ignore_value: of label maps.
    """

    def __init__(self, pipeline: Pipeline, *, ignore_value: int) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.ignore_value = ignore_value
        self.is_torchvision = isinstance(pipeline, torch.nn.Module)

    def get_transform(self, image: np.ndarray, sem_seg: np.ndarray) -> Transform:
        """Image (H, W, C) and labels (H, W) -> the transform to (h, w, C) and (h, w). Raises UserError."""
        known = ids_in(sem_seg.astype(np.int64))
        # Seed the pipeline's own generators.
        if hasattr(self.pipeline, "set_random_seed"):
            self.pipeline.set_random_seed(int(np.random.randint(2**31)))
        # Run it on labels with 0 for ignored pixels.
        call = self._call_torchvision if self.is_torchvision else self._call
        changed, mask = call(image, self._shifted(sem_seg))
        # Check what it made, and shift the labels back.
        self._check(image, changed, mask)
        labels = self._unshifted(mask, known)
        new = np.setdiff1d(ids_in(labels), [*known, self.ignore_value])
        if new.size:
            raise UserError(
                f"{KEY}: the pipeline made labels {new.tolist()}, of which the image had none: "
                f"{REMEDY_FOR_LABELS}, and fill_mask 0 or the ignore value {self.ignore_value}"
            )
        dtype = sem_seg.dtype if labels.max(initial=0) < 256 else np.float32
        return FixedResult(np.ascontiguousarray(changed), labels.astype(dtype))

    def _shifted(self, labels: np.ndarray) -> np.ndarray:
        """(H, W) labels plus one, 0 for ignored pixels: uint8, or uint16 if they do not fit."""
        shifted = np.where(labels == self.ignore_value, 0, labels.astype(np.int64) + 1)
        return shifted.astype(np.uint8 if shifted.max(initial=0) < 256 else np.uint16)

    def _unshifted(self, mask: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(h, w) int64: the inverse of `_shifted`; the ignore value stays, unless it is a label that the image had."""
        is_ignored = mask == 0
        if self.ignore_value - 1 not in known:
            is_ignored |= mask == self.ignore_value
        return np.where(is_ignored, self.ignore_value, mask.astype(np.int64) - 1)

    def _call(self, image: np.ndarray, mask: np.ndarray) -> tuple[Any, Any]:
        result = self.pipeline(image=image, mask=mask)
        if not isinstance(result, Mapping) or not {"image", "mask"} <= set(result):
            raise UserError(f'{KEY}: the pipeline must return a dict with "image" and "mask", not {result!r:.60}')
        return result["image"], result["mask"]

    def _call_torchvision(self, image: np.ndarray, mask: np.ndarray) -> tuple[Any, Any]:
        from torchvision import tv_tensors

        planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
        labels = torch.from_numpy(mask if mask.dtype == np.uint8 else mask.astype(np.int32))
        changed, result = self.pipeline(tv_tensors.Image(planes), tv_tensors.Mask(labels))
        return changed.permute(1, 2, 0).numpy(), result.numpy()

    def _check(self, given: np.ndarray, image: Any, mask: Any) -> None:
        """Raise UserError unless image and mask are arrays of one size, with the number types that were given."""
        if not (isinstance(image, np.ndarray) and isinstance(mask, np.ndarray)):
            raise UserError(
                f"{KEY}: the pipeline made {type(image).__name__} and {type(mask).__name__}, not NumPy arrays: "
                "remove its conversion to tensors (ToTensorV2)"
            )
        if image.dtype != given.dtype or image.ndim != 3 or image.shape[2] != given.shape[2]:
            raise UserError(
                f"{KEY}: the pipeline made an image of shape {image.shape} and type {image.dtype}; it must have "
                f"{given.shape[2]} channels of type {given.dtype}: remove Normalize, ToFloat and conversions, "
                "since the model normalizes by MODEL.PIXEL_MEAN and MODEL.PIXEL_STD"
            )
        if mask.dtype.kind not in "iu":
            raise UserError(f"{KEY}: the pipeline made labels of type {mask.dtype}, not integers: {REMEDY_FOR_LABELS}")
        if mask.shape != image.shape[:2]:
            raise UserError(
                f"{KEY}: the pipeline made an image of {image.shape[1]} x {image.shape[0]} pixels and a label map "
                f"of {' x '.join(map(str, mask.shape[::-1]))}: apply transforms that resize or crop to both"
            )
