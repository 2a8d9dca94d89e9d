"""`ConvStem`: a convolutional patch embedding for plain ViTs that are trained from scratch on few images.

The SegViT papers fine-tune pre-trained encoders, which embed patches by one linear layer. From scratch on a small
dataset that layer learns slowly; strided convolutions learn faster (Xiao et al. 2021, "Early Convolutions Help
Transformers See Better", arXiv 2106.14881).
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.errors import ArgumentError


class ConvNormAct(nn.Sequential):
    """3 x 3 convolution, batch normalization, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class StemStage(nn.Module):
    """Halves the resolution; with `refine`, adds one residual convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, refine: bool) -> None:
        super().__init__()
        self.width = out_channels
        self.reduce = ConvNormAct(in_channels, out_channels, stride=2)
        self.refine = ConvNormAct(out_channels, out_channels, stride=1) if refine else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        return x if self.refine is None else x + self.refine(x)


class ConvStem(nn.Sequential):
    """Images (B, I, H, W) -> (B, C, H/P, W/P) in log2(P) stages; each doubles the width, up to C.

    Args:
        patch_size: P, a power of two.
        embed_dim: C, the width of the last stage; without `stem_dim`, divisible by P / 2.
        stem_dim: width of the first stage; 0 for 2 C / P, so that only the last stage has width C.
        in_channels: I, the channels of the images.

    Raises:
        ArgumentError: if `patch_size`, `embed_dim` or `stem_dim` does not fit.
    """

    def __init__(self, *, patch_size: int, embed_dim: int, stem_dim: int = 0, in_channels: int = 3) -> None:
        num_stages = patch_size.bit_length() - 1
        if patch_size != 2**num_stages or num_stages < 1 or (not stem_dim and embed_dim % (patch_size // 2)):
            raise ArgumentError(
                "patch_size",
                f"{patch_size} and `embed_dim` {embed_dim} do not fit the convolutional stem, which needs a patch size "
                "that is a power of two and a width divisible by half of it",
            )
        first = stem_dim or 2 * embed_dim // patch_size
        if not embed_dim <= first * patch_size // 2 or first > embed_dim:
            raise ArgumentError(
                "stem_dim",
                f"{stem_dim} must be {-(-2 * embed_dim // patch_size)} to {embed_dim} with patches of "
                f"{patch_size} pixels, so that the stem ends with `embed_dim` {embed_dim}",
            )
        widths = [in_channels, *(min(first << stage, embed_dim) for stage in range(num_stages))]
        super().__init__(
            *(StemStage(widths[stage], widths[stage + 1], refine=stage > 0) for stage in range(num_stages))
        )
