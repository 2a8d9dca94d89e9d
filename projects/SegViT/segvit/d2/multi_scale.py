"""`SemanticSegmentorWithTTA`: multi-scale and flipped testing.

Shape shorthand: C channels, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from segvit.assembly.meta_arch import SegViT
from segvit.assembly.model_types import ModelInput, ModelOutput, requested_size
from segvit.data.augmentation import ResizeShortestEdge
from segvit.errors import UserError
from segvit.images import image_format_of
from segvit.modeling.postprocessing.image_sizes import Size
from segvit.modeling.postprocessing.score_bands import join_bands, mean_bands


class SemanticSegmentorWithTTA(nn.Module):
    """The mean of a model's scores over scales and mirror images; called as the model is, in inference.

    A view of an image is segmented as the model segments any image, by windows if TEST.WINDOW is enabled. Scores are
    averaged as they are; the official release applies another softmax first, which changes the result.

    Views are resized from "image": pass the original, not one already resized to INPUT.MIN_SIZE_TEST.

    Memory does not grow with the number of views: each is added to one sum. With `labels_only` there is no sum of the
    whole image either; the views are computed side by side, band by band.

    Args:
        model: trained; a DistributedDataParallel is unwrapped.
        min_sizes: short side of each view, in pixels.
        max_size: upper limit of a view's long side.
        flip: also segment the mirror image of each view.
        dtype: in which views are resized, as training images are, see `ImageFormat`: uint8 or float32.
    """

    @configurable
    def __init__(
        self,
        model: SegViT | DistributedDataParallel,
        *,
        min_sizes: Sequence[int],
        max_size: int,
        flip: bool,
        dtype: type[np.generic] = np.uint8,
    ) -> None:
        super().__init__()
        self.model: SegViT = model.module if isinstance(model, DistributedDataParallel) else model
        self.resizes = [ResizeShortestEdge(min_size, max_size) for min_size in min_sizes]
        self.flips = (False, True) if flip else (False,)
        self.dtype = dtype

    @classmethod
    def from_config(cls, cfg: CfgNode, model: SegViT | DistributedDataParallel) -> dict[str, Any]:
        if not cfg.TEST.AUG.MIN_SIZES:
            raise UserError("TEST.AUG.MIN_SIZES is empty: set the short sides to test at, such as (384, 512, 640)")
        return {
            "model": model,
            "min_sizes": cfg.TEST.AUG.MIN_SIZES,
            "max_size": cfg.TEST.AUG.MAX_SIZE,
            "flip": cfg.TEST.AUG.FLIP,
            "dtype": image_format_of(cfg).dtype,
        }

    @torch.no_grad()
    def forward(self, batched_inputs: list[ModelInput]) -> list[ModelOutput]:
        """Inputs and outputs of `SegViT.forward` in inference.

        Raises UserError for pixel values outside 0 to 255 in images of 8 bits.
        """
        return [self._segment(inputs) for inputs in batched_inputs]

    def _segment(self, inputs: ModelInput) -> ModelOutput:
        size = requested_size(inputs)
        image = _as_bytes(inputs["image"]) if self.dtype == np.uint8 else inputs["image"].float()
        pixels = image.cpu().permute(1, 2, 0).numpy()
        views = [self._bands(pixels, resize, flipped, size) for resize in self.resizes for flipped in self.flips]
        mean = mean_bands(views, size) if self.model.labels_only else _mean_one_by_one(views, size)
        return self.model.result(mean, size)

    def _bands(
        self, pixels: np.ndarray, resize: ResizeShortestEdge, flipped: bool, size: Size
    ) -> Iterator[torch.Tensor]:
        """Bands of the scores of a view of (H, W, C) pixels, flipped back and at the output size."""
        view = torch.from_numpy(resize.get_transform(pixels).apply_image(pixels).copy()).permute(2, 0, 1)
        for band in self.model.score_bands(view.flip(-1) if flipped else view, size):
            yield band.flip(-1) if flipped else band


def _as_bytes(image: torch.Tensor) -> torch.Tensor:
    """An image of 8 bits, (C, H, W), as uint8. Detectron2's `DefaultPredictor` passes floats."""
    if image.min() < 0 or image.max() > 255:
        raise UserError(f"pixel values must be from 0 to 255, not from {image.min():.4g} to {image.max():.4g}")
    return image.round().byte() if image.is_floating_point() else image


def _mean_one_by_one(views: Sequence[Iterator[torch.Tensor]], size: Size) -> Iterator[torch.Tensor]:
    """The mean of banded maps as a single band; one map at a time is added to the sum."""
    total = join_bands(views[0], size)
    for bands in views[1:]:
        row = 0
        for band in bands:
            total[:, row : row + band.shape[1]] += band
            row += band.shape[1]
    yield total.div_(len(views))
