"""A convolutional patch embedding for plain ViTs that are trained from scratch on few images.

The papers fine-tune pre-trained encoders and embed patches by one linear layer; trained from scratch on small data sets
that is clearly slower to learn. Strided convolutions early on are the remedy of Xiao et al. 2021 ("Early Convolutions
Help Transformers See Better", arXiv 2106.14881).
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.errors import UserError


class ConvNormAct(nn.Sequential):
    """3 x 3 convolution, batch normalisation, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class StemStage(nn.Module):
    """Halve the resolution; from the second stage on refine by one residual convolution."""

    def __init__(self, in_channels: int, out_channels: int, *, refine: bool) -> None:
        super().__init__()
        self.reduce = ConvNormAct(in_channels, out_channels, stride=2)
        self.refine = ConvNormAct(out_channels, out_channels, stride=1) if refine else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.reduce(x)
        return x if self.refine is None else x + self.refine(x)


class ConvStem(nn.Sequential):
    """Images (B, 3, H, W) -> (B, C, H/P, W/P), P a power of two, the width doubling at each of log2(P) stages.

    Args:
        patch_size: P.
        embed_dim: C, the width of the last stage; divisible by P / 2.

    Raises:
        UserError: where `patch_size` is no power of two or `embed_dim` does not halve that often.
    """

    def __init__(self, *, patch_size: int, embed_dim: int, in_channels: int = 3) -> None:
        num_stages = patch_size.bit_length() - 1
        if patch_size != 2**num_stages or num_stages < 1 or embed_dim % (patch_size // 2):
            raise UserError(
                f"the convolutional stem needs a patch size that is a power of two and a width divisible by half of "
                f"it; got patch size {patch_size}, width {embed_dim}"
            )
        widths = [in_channels, *(embed_dim >> (num_stages - 1 - stage) for stage in range(num_stages))]
        super().__init__(
            *(StemStage(widths[stage], widths[stage + 1], refine=stage > 0) for stage in range(num_stages))
        )
