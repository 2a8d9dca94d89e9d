"""Query-based up-sampling (QU): queries on the full grid read what reduced tokens know (SegViT v1, section 3.4).

Two kinds: queries learned per cell, as in the official release, or inherited from the tokens that the encoder had
before it dropped some ("predefined or inherited" in v2).

Shape shorthand: B images, h x w full grid, N = h*w queries, L tokens of a stage, C encoder width, D decoder width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import nn

from segvit.modeling.token_reduction.nearest_restoration import restore_nearest
from segvit.modeling.token_reduction.split_attention import attend
from segvit.modeling.token_reduction.token_set import Stage, stage_tokens
from segvit.modeling.tokens import map_to_tokens, tokens_to_map


class QueryUpsamplingLayer(nn.Module):
    """The standard post-norm decoder layer: self-attention, cross-attention, feed-forward.

    Args:
        self_attention: without it queries meet through the tokens alone.
    """

    def __init__(self, *, dim: int, num_heads: int, dropout: float, self_attention: bool) -> None:
        super().__init__()
        if self_attention:
            self.self_attn = Attention(dim, num_heads, qkv_bias=True, attn_drop=dropout, proj_drop=dropout)
            self.norm1 = nn.LayerNorm(dim)
        self.self_attention = self_attention
        self.cross_attn = Attention(dim, num_heads, qkv_bias=True, attn_drop=dropout, proj_drop=dropout)
        self.mlp = Mlp(dim, hidden_features=4 * dim, act_layer=nn.ReLU, drop=dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self, queries: torch.Tensor, tokens: torch.Tensor, key_mask: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, N, D) queries, (B, L, D) tokens, (B, 1, 1, L) which of them are seen -> (B, N, D)."""
        if self.self_attention:
            queries = self.norm1(queries + self.self_attn(queries))
        queries = self.norm2(queries + attend(self.cross_attn, queries, tokens, key_mask))
        return self.norm3(queries + self.mlp(queries))


class QueryUpsamplingStage(nn.Module):
    """Project one encoder stage to the decoder's width and let the queries read it, layer after layer."""

    def __init__(
        self, *, in_dim: int, dim: int, num_layers: int, num_heads: int, dropout: float, self_attention: bool
    ) -> None:
        super().__init__()
        self.input_proj = nn.Linear(in_dim, dim)
        self.input_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            QueryUpsamplingLayer(dim=dim, num_heads=num_heads, dropout=dropout, self_attention=self_attention)
            for _ in range(num_layers)
        )

    def forward(self, queries: torch.Tensor, stage: Stage) -> torch.Tensor:
        """(B, N, D) queries and a (B, C, ., .) map or `TokenSet` -> (B, N, D)."""
        tokens, key_mask = stage_tokens(stage)
        tokens = self.input_norm(self.input_proj(tokens))
        for layer in self.layers:
            queries = layer(queries, tokens, key_mask)
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
            QueryUpsamplingStage(
                in_dim=in_dim,
                dim=dim,
                num_layers=num_layers,
                num_heads=num_heads,
                dropout=dropout,
                self_attention=True,
            )
            for in_dim in in_dims
        )

    def forward(self, stages: list[Stage]) -> torch.Tensor:
        """Stages in encoder order, the first a map at (h, w) -> (B, D, h, w)."""
        grid = (stages[0].shape[-2], stages[0].shape[-1])
        queries = self._queries_for(grid).expand(stages[0].shape[0], -1, -1)
        for module, stage in zip(self.stages, stages, strict=True):
            queries = module(queries, stage)
        return tokens_to_map(queries, grid)

    def _queries_for(self, grid: tuple[int, int]) -> torch.Tensor:
        queries = self.queries.weight[None]  # (1, N, D)
        # No export must be bound to the grid that it happens to see; resizing to the same grid changes nothing.
        if not torch.compiler.is_compiling() and grid == self.grid_size:
            return queries
        learned = tokens_to_map(queries, self.grid_size)
        return map_to_tokens(F.interpolate(learned, size=grid, mode="bicubic", align_corners=False))


class InheritedQueryUpsampling(nn.Module):
    """Queries from the high-resolution tokens that the encoder held before its reduction; they read its last tokens.

    Differs from the learned kind as our measurements (docs/efficiency.md) allow: no query is bound to a crop,
    the stored tokens are not attended to but carried, and queries do not attend to each other, 44 % of a layer.

    Args:
        in_dims: encoder widths of the stored stage and of the last one.
        dim: D.
        num_layers: cross-attention and feed-forward layers.
        adds_nearest: begin each query with the nearest token that survived, besides its own stored one (ours): where a
            token was kept, its end is its beginning.
    """

    def __init__(
        self,
        *,
        in_dims: list[int],
        dim: int,
        num_layers: int,
        num_heads: int,
        dropout: float,
        adds_nearest: bool,
    ) -> None:
        super().__init__()
        stored_dim, last_dim = in_dims
        self.adds_nearest = adds_nearest
        self.query_proj = nn.Linear(stored_dim, dim)
        self.query_norm = nn.LayerNorm(dim)
        if adds_nearest:
            self.nearest_proj = nn.Linear(last_dim, dim)
        self.stage = QueryUpsamplingStage(
            in_dim=last_dim,
            dim=dim,
            num_layers=num_layers,
            num_heads=num_heads,
            dropout=dropout,
            self_attention=False,
        )

    def forward(self, stages: list[Stage]) -> torch.Tensor:
        """The stored (B, C, h, w) map and the last stage, reduced -> (B, D, h, w)."""
        stored, last = stages
        grid = (stored.shape[-2], stored.shape[-1])
        queries = self.query_proj(map_to_tokens(stored))
        if self.adds_nearest:
            queries = queries + restore_nearest(self.nearest_proj(stage_tokens(last)[0]), last, grid)
        return tokens_to_map(self.stage(self.query_norm(queries), last), grid)
