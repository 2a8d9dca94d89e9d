"""`EdgeHead` of Shrunk++: predicts for each patch whether a class boundary crosses it (SegViT v2, section 3.4).

Shape shorthand: B images, P patch size, h = H/P, w = W/P, N = h*w patches, C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Mlp
from torch import nn

from segvit.modeling.tokens import tokens_to_map


class EdgeHead(nn.Module):
    """An MLP of widths C, C/2 and 2 on patch tokens.

    Its input is detached: the edge loss trains this head alone, not the encoder. The LayerNorm before the MLP is an
    addition of ours, because the tokens of deeper blocks vary widely in magnitude.

    Args:
        embed_dim: C.
    """

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.input_layer = nn.Linear(embed_dim, embed_dim)
        self.mlp = Mlp(embed_dim, hidden_features=embed_dim // 2, out_features=2)

    def forward(self, patches: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """(B, N, C) -> (B, 2, h, w) logits: no edge, edge."""
        hidden = F.gelu(self.input_layer(self.norm(patches.detach())))
        return tokens_to_map(self.mlp(hidden), grid)


def edge_scores(edge_logits: torch.Tensor) -> torch.Tensor:
    """(B, 2, h, w) logits -> (B, h, w) probabilities of an edge, in float32."""
    return edge_logits.float().softmax(dim=1)[:, 1]
