"""`SegmenterHead`: Segmenter's mask transformer (Strudel et al., ICCV 2021, section 3.2), a baseline.

Shape shorthand: B images, h x w grid, N = h*w tokens, C width, K classes.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import nn

from segvit.modeling.token_reduction.token_set import CellMap, as_map
from segvit.modeling.tokens import map_to_tokens

# Channels of an attention head, as in ViTs.
HEAD_DIM = 64


class SegmenterHead(nn.Module):
    """Runs class and patch tokens through two transformer blocks; scores are the products of both, normalized.

    Args:
        in_feature: the name of its input stage.
        embed_dim: C.
        num_classes: K.
    """

    def __init__(self, *, in_feature: str, embed_dim: int, num_classes: int) -> None:
        super().__init__()
        self.in_feature = in_feature
        self.class_tokens = nn.Parameter(torch.randn(1, num_classes, embed_dim) * 0.02)
        self.input_proj = nn.Linear(embed_dim, embed_dim)
        num_heads = max(1, embed_dim // HEAD_DIM)
        self.blocks = nn.Sequential(*(Block(embed_dim, num_heads, qkv_bias=True) for _ in range(2)))
        self.norm = nn.LayerNorm(embed_dim)
        self.patch_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.class_proj = nn.Linear(embed_dim, embed_dim, bias=False)
        self.mask_norm = nn.LayerNorm(num_classes)

    def forward(self, features: Mapping[str, torch.Tensor | CellMap]) -> torch.Tensor:
        """Stage maps (B, C, h, w) -> (B, K, h, w)."""
        # Project the patch tokens and append the class tokens.
        stage = as_map(features[self.in_feature])
        patches = self.input_proj(map_to_tokens(stage))  # (B, N, C)
        classes = self.class_tokens.squeeze(0).expand(len(patches), -1, -1)  # (B, K, C)

        # Let patches and classes attend to each other.
        tokens = self.norm(self.blocks(torch.cat([patches, classes], dim=1)))
        patches, classes = tokens.split([patches.shape[1], classes.shape[1]], dim=1)

        # Scores are cosine similarities of patches and classes.
        patches = F.normalize(self.patch_proj(patches), dim=-1)
        classes = F.normalize(self.class_proj(classes), dim=-1)
        scores = self.mask_norm(patches @ classes.transpose(1, 2))  # (B, N, K)

        # Made contiguous, since upsampling a transposed view takes eight times as long.
        return scores.transpose(1, 2).contiguous().unflatten(2, stage.shape[-2:])
