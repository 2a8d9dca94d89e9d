"""Query-based up-sampling (QU): queries on the full grid read what reduced tokens know (SegViT v1, section 3.4).

Shape shorthand: B images, h x w full grid, N = h*w queries, L tokens of a stage, C encoder width, D decoder width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import nn

from segvit.modeling.split_attention import attend
from segvit.modeling.tokens import map_to_tokens, tokens_to_map


class QueryUpsamplingLayer(nn.Module):
    """The standard post-norm decoder layer: self-attention, cross-attention, feed-forward."""

    def __init__(self, *, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads, qkv_bias=True, attn_drop=dropout, proj_drop=dropout)
        self.cross_attn = Attention(dim, num_heads, qkv_bias=True, attn_drop=dropout, proj_drop=dropout)
        self.mlp = Mlp(dim, hidden_features=4 * dim, act_layer=nn.ReLU, drop=dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """(B, N, D) queries and (B, L, D) tokens -> (B, N, D)."""
        queries = self.norm1(queries + self.self_attn(queries))
        queries = self.norm2(queries + attend(self.cross_attn, queries, tokens))
        return self.norm3(queries + self.mlp(queries))


class QueryUpsamplingStage(nn.Module):
    """Project one encoder stage to the decoder's width and let the queries read it, layer after layer."""

    def __init__(self, *, in_dim: int, dim: int, num_layers: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.input_proj = nn.Linear(in_dim, dim)
        self.input_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            QueryUpsamplingLayer(dim=dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )

    def forward(self, queries: torch.Tensor, feature_map: torch.Tensor) -> torch.Tensor:
        """(B, N, D) queries and a (B, C, ., .) map -> (B, N, D)."""
        tokens = self.input_norm(self.input_proj(map_to_tokens(feature_map)))
        for layer in self.layers:
            queries = layer(queries, tokens)
        return queries


class LearnedQueryUpsampling(nn.Module):
    """Learned queries, one per cell of the training grid, through the stages in encoder order.

    Args:
        grid_size: (h, w) of the training crop; other grids are served by interpolating the queries.
        in_dims: encoder widths of the stages, the full-resolution one first.
        dim: D.
        num_layers: layers per stage.
    """

    def __init__(
        self,
        *,
        grid_size: tuple[int, int],
        in_dims: list[int],
        dim: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.grid_size = grid_size
        self.queries = nn.Embedding(grid_size[0] * grid_size[1], dim)
        self.stages = nn.ModuleList(
            QueryUpsamplingStage(in_dim=in_dim, dim=dim, num_layers=num_layers, num_heads=num_heads, dropout=dropout)
            for in_dim in in_dims
        )

    def forward(self, feature_maps: list[torch.Tensor]) -> torch.Tensor:
        """Maps in encoder order, the first at (h, w) -> (B, D, h, w)."""
        grid = (feature_maps[0].shape[-2], feature_maps[0].shape[-1])
        queries = self._queries_for(grid).expand(len(feature_maps[0]), -1, -1)
        for stage, feature_map in zip(self.stages, feature_maps, strict=True):
            queries = stage(queries, feature_map)
        return tokens_to_map(queries, grid)

    def _queries_for(self, grid: tuple[int, int]) -> torch.Tensor:
        queries = self.queries.weight[None]  # (1, N, D)
        if grid == self.grid_size:
            return queries
        learned = tokens_to_map(queries, self.grid_size)
        return map_to_tokens(F.interpolate(learned, size=grid, mode="bicubic", align_corners=False))
