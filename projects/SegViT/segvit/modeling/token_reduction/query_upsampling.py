"""Query-based upsampling (QU): queries on the full grid attend to the tokens that a reduction kept.

SegViT v1, section 3.4, and v2, section 3.4 ("predefined or inherited" queries). Two kinds: learned queries, one per
cell (as in the official release), and queries inherited from the tokens of a block before the reduction.

Shape shorthand: B images, h x w full grid, N = h*w queries, L tokens of a stage, C encoder width, D decoder width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import nn

from segvit.modeling.grid_tensors import Grid, GridTensors, is_exporting
from segvit.modeling.token_reduction.reducing_block import cross_attention
from segvit.modeling.token_reduction.token_set import Stage, restore_nearest, stage_grid, stage_tokens
from segvit.modeling.tokens import map_to_tokens, tokens_to_map


class QueryUpsamplingLayer(nn.Module):
    """The post-norm transformer decoder layer: self-attention, cross-attention, feed-forward.

    Args:
        dim: D.
        num_heads: of each attention.
        dropout: in attention weights, projections and the MLP.
        self_attention: whether queries attend to each other.
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
        """Queries (B, N, D), tokens (B, L, D), key mask (B, 1, 1, L), False for padding -> (B, N, D)."""
        if self.self_attention:
            queries = self.norm1(queries + self.self_attn(queries))
        queries = self.norm2(queries + cross_attention(self.cross_attn, queries, tokens, key_mask))
        return self.norm3(queries + self.mlp(queries))


class QueryUpsamplingStage(nn.Module):
    """Projects one encoder stage to the decoder's width; then each layer lets the queries attend to it.

    Args:
        in_dim: C.
        dim: D.
        num_layers: number of layers.
        num_heads, dropout, self_attention: see `QueryUpsamplingLayer`.
    """

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
        """Queries (B, N, D) and a map (B, C, ., .) or `TokenSet` -> (B, N, D)."""
        tokens, key_mask = stage_tokens(stage)
        tokens = self.input_norm(self.input_proj(tokens))
        for layer in self.layers:
            queries = layer(queries, tokens, key_mask)
        return queries


class LearnedQueryUpsampling(GridTensors):
    """Learned queries, one per cell of the training grid, attend to the stages in encoder order.

    Args:
        grid_size: (h, w) of the training crop; for other grids the queries are interpolated.
        in_dims: encoder widths of the stages, the full-resolution stage first.
        dim: D.
        num_layers: layers per stage.
        num_heads, dropout: see `QueryUpsamplingLayer`.
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
        """Stages in encoder order, the first a map on the full grid (h, w) -> (B, D, h, w)."""
        # One query per cell of the full grid, the same for every image.
        grid = stage_grid(stages[0])
        batch_size = stage_tokens(stages[0])[0].shape[0]
        queries = self._queries_on(grid).expand(batch_size, -1, -1).contiguous()  # (B, N, D), see `ATMDecoder`

        # Stage by stage, the queries attend to the encoder's tokens.
        for module, stage in zip(self.stages, stages, strict=True):
            queries = module(queries, stage)
        return tokens_to_map(queries, grid)

    def _queries_on(self, grid: tuple[int, int]) -> torch.Tensor:
        """(1, N, D) queries, resized bicubically to the grid."""
        queries = self.queries.weight
        # Do not skip the resize in an export: the branch would fix the grid. Resizing to the same grid is exact.
        if not is_exporting() and grid == self.grid_size:
            return queries[None]
        return self.resized(queries, self.grid_size, grid)[None]

    def grid_tensors(self) -> list[str]:
        return ["queries.weight"]

    def length_on(self, grid: Grid) -> int:
        return grid[0] * grid[1]

    def resized(self, tensor: torch.Tensor, old: Grid, new: Grid) -> torch.Tensor:
        """Queries (N, D), resized bicubically."""
        learned = tokens_to_map(tensor[None], old)
        return map_to_tokens(F.interpolate(learned, size=new, mode="bicubic", align_corners=False))[0]


class InheritedQueryUpsampling(nn.Module):
    """Queries from the tokens of a block before the reduction attend to the tokens of the last block.

    Lighter than learned queries, at the accuracy measured in docs/efficiency.md: no query belongs to a crop size, the
    stored tokens become queries but are not attended to, and queries do not attend to each other (44 % of a layer).

    Args:
        in_dims: encoder widths of the stored stage (before the reduction) and of the last stage.
        dim: D.
        num_layers: layers of cross-attention and feed-forward; 0, with `adds_nearest`, returns the queries themselves.
        num_heads, dropout: see `QueryUpsamplingLayer`.
        adds_nearest: add the nearest kept token of the last block to each query (ours).
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
        if num_layers:
            self.stage = QueryUpsamplingStage(
                in_dim=last_dim,
                dim=dim,
                num_layers=num_layers,
                num_heads=num_heads,
                dropout=dropout,
                self_attention=False,
            )
        self.has_layers = num_layers > 0

    def forward(self, stages: list[Stage]) -> torch.Tensor:
        """[stored map (B, C, h, w), last stage] -> (B, D, h, w)."""
        stored, last = stages
        grid = stage_grid(stored)

        # Queries from the stored tokens, and from the nearest kept token of the last stage.
        stored_tokens, _ = stage_tokens(stored)
        queries = self.query_proj(stored_tokens)  # (B, N, D)
        if self.adds_nearest:
            last_tokens, _ = stage_tokens(last)
            queries = queries + restore_nearest(self.nearest_proj(last_tokens), last, grid)
        queries = self.query_norm(queries)

        # The queries attend to the last stage.
        if self.has_layers:
            queries = self.stage(queries, last)
        return tokens_to_map(queries, grid)
