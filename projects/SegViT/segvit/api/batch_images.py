"""`model_images`: the check of a batch of images, and the channel order of the model."""

from __future__ import annotations

import torch

from segvit.errors import ArgumentError
from segvit.images import ImageFormat


def model_images(images: torch.Tensor, image_format: ImageFormat) -> torch.Tensor:
    """RGB images (B, 3, H, W), or those of another format, as the model takes them. Raises ArgumentError."""
    require_images(images, image_format)
    is_bgr = image_format.channels == 3 and image_format.order == "BGR"
    return images.flip(1) if is_bgr else images


def require_images(images: torch.Tensor, image_format: ImageFormat) -> None:
    """Raise ArgumentError unless images are (B, C, H, W), with levels up to 255 if they have 8 bits."""
    channels = image_format.channels
    if images.ndim != 4 or images.shape[1] != channels:
        raise ArgumentError("images", f"have shape {tuple(images.shape)}: give (B, {channels}, H, W)")
    if image_format.levels == "raw":
        return
    # A comparison on a GPU would wait for it in each step.
    if images.is_floating_point() and not images.is_cuda and images.numel() and 0 < images.max() <= 1:
        raise ArgumentError("images", "look like levels from 0 to 1: multiply them by 255; the model normalizes them")
