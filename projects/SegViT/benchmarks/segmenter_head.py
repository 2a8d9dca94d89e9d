"""Segmenter's mask transformer (Strudel et al., 2021), to be timed on the same encoder as ours.

Shape shorthand: B images, h x w grid, N = h*w tokens, C width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import nn

from segvit.modeling.tokens import map_to_tokens


class SegmenterHead(nn.Module):
    """Class tokens join the patch tokens in two further blocks; scores are their normalised products.

    Args:
        in_feature: the stage that is read.
        embed_dim: C.
        num_classes: K.
        num_heads: of the blocks.
    """

    def __init__(self, *, in_feature: str, embed_dim: int, num_classes: int, num_heads: int) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.class_tokens = nn.Parameter(torch.randn(1, num_classes, embed_dim) * 0.02)
        self.input_proj = nn.Linear(embed_dim, embed_dim)
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads, qkv_bias=True) for _ in range(2)))
        self.norm = nn.LayerNorm(embed_dim)
        self.patch_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.class_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes)

    def forward(self, features: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Stage maps (B, C, h, w) -> (B, K, h, w)."""
        stage = features[self.in_feature]
        patches = self.input_proj(map_to_tokens(stage))
        tokens = self.norm(self.blocks(torch.cat([patches, self.class_tokens.expand(len(patches), -1, -1)], dim=1)))
        patches, classes = tokens.split([patches.shape[1], tokens.shape[1] - patches.shape[1]], dim=1)
        patches = F.normalize(self.patch_proj(patches), dim=-1)
        classes = F.normalize(self.class_proj(classes), dim=-1)
        scores = self.mask_norm(patches @ classes.transpose(1, 2))  # (B, N, K)
        # Contiguous: upsampling a transposed view takes eight times as long.
        return scores.transpose(1, 2).contiguous().unflatten(2, stage.shape[-2:])
