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
    """Images (B, I, H, W) -> (B, C, H/P, W/P) in log2(P) stages; each doubles the width.

    Args:
        patch_size: P, a power of two.
        embed_dim: C, the width of the last stage; divisible by P / 2.
        in_channels: I, the channels of the images.

    Raises:
        ArgumentError: if `patch_size` or `embed_dim` does not fit.
    """

    def __init__(self, *, patch_size: int, embed_dim: int, in_channels: int = 3) -> None:
        num_stages = patch_size.bit_length() - 1
        if patch_size != 2**num_stages or num_stages < 1 or embed_dim % (patch_size // 2):
            raise ArgumentError(
                "patch_size",
                f"{patch_size} and `embed_dim` {embed_dim} do not fit the convolutional stem, which needs a patch size "
                "that is a power of two and a width divisible by half of it",
            )
        widths = [in_channels, *(embed_dim >> (num_stages - 1 - stage) for stage in range(num_stages))]
        super().__init__(
            *(StemStage(widths[stage], widths[stage + 1], refine=stage > 0) for stage in range(num_stages))
        )
