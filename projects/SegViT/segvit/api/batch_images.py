"""`model_images` and `require_labels`: the checks of a batch, and the channel order of the model."""

from __future__ import annotations

import torch

from segvit.errors import ArgumentError
from segvit.images import ImageFormat

# Normalized levels are lower: white is at most 2.7 with the pixel statistics of ImageNet.
NORMALIZED = 8


def model_images(images: torch.Tensor, image_format: ImageFormat) -> torch.Tensor:
    """RGB images (B, 3, H, W), or those of another format, as the model takes them. Raises ArgumentError."""
    require_images(images, image_format)
    if images.dtype == torch.float64:  # as NumPy computes
        images = images.float()
    is_bgr = image_format.channels == 3 and image_format.order == "BGR"
    return images.flip(1) if is_bgr else images


def require_images(images: torch.Tensor, image_format: ImageFormat) -> None:
    """Raise ArgumentError unless images are (B, C, H, W), with levels up to 255 if they have 8 bits."""
    require_tensor("images", images)
    if images.dtype == torch.bool or images.is_complex():
        raise ArgumentError("images", f"are {images.dtype}: give levels as uint8 or float32")
    channels = image_format.channels
    if images.ndim != 4 or images.shape[1] != channels:
        raise ArgumentError("images", f"have shape {tuple(images.shape)}: give (B, {channels}, H, W)")
    if not images.numel():
        raise ArgumentError("images", f"have shape {tuple(images.shape)}: there is no pixel")
    if image_format.levels == "raw":
        return
    # A comparison on a GPU would wait for it in each step.
    if images.is_floating_point() and not images.is_cuda:
        lowest, highest = images.aminmax()
        if 0 < highest <= 1:
            raise ArgumentError(
                "images", "look like levels from 0 to 1: multiply them by 255; the model normalizes them"
            )
        if lowest < 0 and highest < NORMALIZED:
            raise ArgumentError("images", "look normalized: give levels from 0 to 255; the model normalizes them")


def require_labels(labels: torch.Tensor, images: torch.Tensor, *, ignore_value: int) -> None:
    """Raise ArgumentError unless labels are (B, H, W) ids of the images' pixels, from 0 on."""
    require_tensor("labels", labels)
    if labels.shape != (len(images), *images.shape[2:]):
        raise ArgumentError(
            "labels", f"have shape {tuple(labels.shape)}, and images {tuple(images.shape)}: give (B, H, W)"
        )
    if labels.dtype == torch.bool or labels.is_floating_point() or labels.is_complex():
        raise ArgumentError("labels", f"are {labels.dtype}: give class ids, labels.long()")
    if not labels.is_cuda and ((labels < 0) & (labels != ignore_value)).any():
        raise ArgumentError("labels", f"have ids below 0: pixels without a label have {ignore_value}")


def require_tensor(name: str, value: object) -> None:
    """Raise ArgumentError for arrays and lists."""
    if not isinstance(value, torch.Tensor):
        raise ArgumentError(name, f"are a {type(value).__name__}: give a tensor, as torch.from_numpy makes of an array")
