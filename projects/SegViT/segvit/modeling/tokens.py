"""The one place where tokens become maps and maps become tokens, and where pixels are padded to whole patches.

Shape shorthand: B images, H x W pixels, P patch, h = H/P, w = W/P, N = h*w tokens, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from segvit.errors import UserError


def tokens_to_map(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """(B, N, C) tokens in row-major order -> (B, C, h, w), a view without a copy."""
    return tokens.transpose(1, 2).unflatten(2, grid)


def map_to_tokens(feature_map: torch.Tensor) -> torch.Tensor:
    """(B, C, h, w) -> (B, N, C), a view; contiguous where the map came from `tokens_to_map`."""
    return feature_map.flatten(2).transpose(1, 2)


def padded_size(size: tuple[int, int], multiple: tuple[int, int]) -> tuple[int, int]:
    """The smallest (H, W) not below `size` that whole patches of `multiple` pixels cover."""
    height, width = (-(-length // step) * step for length, step in zip(size, multiple, strict=True))
    return height, width


def pad_to_size(pixels: torch.Tensor, size: tuple[int, int], value: float = 0) -> torch.Tensor:
    """Pad (..., H, W) at the bottom and right up to `size`; nothing is ever cut."""
    bottom, right = size[0] - pixels.shape[-2], size[1] - pixels.shape[-1]
    if bottom < 0 or right < 0:
        raise UserError(f"cannot pad {tuple(pixels.shape[-2:])} to the smaller size {tuple(size)}")
    return F.pad(pixels, (0, right, 0, bottom), value=value) if bottom or right else pixels
