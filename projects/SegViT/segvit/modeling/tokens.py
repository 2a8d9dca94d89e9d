"""Tokens to maps and back, padding to whole patches, and copies to a device: no other file reshapes or pads.

Shape shorthand: B images, H x W pixels, P patch size, h = H/P, w = W/P, N = h*w tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from segvit.errors import UserError


def tokens_to_map(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, N, C) tokens in row-major order -> (B, C, h, w), a view."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def map_to_tokens(feature_map: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, N, C), a view; contiguous if the map came from `tokens_to_map`."""
    return feature_map.flatten(2).transpose(1, 2)


def gather_tokens(tokens: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B, N, C) tokens at indices (B or 1, M) -> (B, M, C). Unlike `take_along_dim`, it can be exported to ONNX."""
    return tokens.gather(1, indices[..., None].expand(tokens.shape[0], -1, tokens.shape[2]))


def padded_size(size: Sequence[int], multiple: Sequence[int]) -> tuple[int, int]:
    """`size` (H, W) in pixels, rounded up to multiples of `multiple` (height, width)."""
    # ONNX would round the negative quotients of `-(-length // step)` the other way.
    height, width = ((length + step - 1) // step * step for length, step in zip(size, multiple, strict=True))
    return height, width


def pad_to_size(pixels: torch.Tensor, size: Sequence[int], value: float = 0) -> torch.Tensor:
    """Pad (..., H, W) at the bottom and right to `size`. Raises UserError if `size` is smaller than the input."""
    bottom = size[0] - pixels.shape[-2]
    right = size[1] - pixels.shape[-1]
    if bottom < 0 or right < 0:
        raise UserError(f"cannot pad {tuple(pixels.shape[-2:])} to the smaller size {tuple(size)}")
    return F.pad(pixels, (0, right, 0, bottom), value=value) if bottom or right else pixels


def send(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """`tensor.to(device)`. From main memory to a GPU it goes by pinned memory, so that the host goes on at once."""
    if device.type != "cuda" or tensor.device.type != "cpu":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
