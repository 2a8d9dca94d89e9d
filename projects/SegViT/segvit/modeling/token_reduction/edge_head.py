"""The edge head of Shrunk++: scores patches by whether a class boundary crosses them (v2, section 3.4).

Shape shorthand: B images, H x W pixels, P patch, h = H/P, w = W/P, N = h*w patches, C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import nn


class EdgeHead(nn.Module):
    """An MLP of widths C, C/2 and 2 on patch tokens: does a class boundary cross the patch?

    Gradients stop at its input: it learns from the encoder and teaches it nothing. The norm before it is ours: deeper
    tokens are of any magnitude.

    Args:
        block_index: the tokens that enter this block are read; 0 reads the embedded patches, as the paper does.
        embed_dim: C.
    """

    def __init__(self, *, block_index: int, embed_dim: int) -> None:
        super().__init__()
        self.block_index = block_index
        self.norm = nn.LayerNorm(embed_dim)
        self.input_layer = nn.Linear(embed_dim, embed_dim)
        self.mlp = Mlp(embed_dim, hidden_features=embed_dim // 2, out_features=2)

    def forward(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, N, C) -> (B, 2, h, w) logits: no edge, edge."""
        hidden = F.gelu(self.input_layer(self.norm(patches.detach())))
        return self.mlp(hidden).transpose(1, 2).unflatten(2, grid)


def edge_scores(edge_logits: torch.Tensor) -> torch.Tensor:
    """(B, 2, h, w) logits -> (B, h, w) probabilities of an edge, in float32."""
    return edge_logits.float().softmax(dim=1)[:, 1]
