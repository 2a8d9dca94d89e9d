"""How a reducing block runs: what the queries of the tokens that it keeps are, and what they read (v1, ablations).

v1 compares three ways and takes the first. All take the block, all tokens, which of them stay, the full grid, the
position arguments of all tokens, and a function that gives those of the kept ones.

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens, C width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from segvit.errors import UserError
from segvit.modeling.token_reduction.split_attention import can_split, run_reducing_block, run_split_block
from segvit.modeling.token_reduction.token_set import KeptTokens
from segvit.modeling.tokens import map_to_tokens, tokens_to_map

Arguments = dict[str, torch.Tensor]


class NearestQueries(nn.Module):
    """Queries from the kept tokens, keys and values from all: "nearest on Q only"."""

    def forward(
        self,
        block: nn.Module,
        tokens: torch.Tensor,
        kept: KeptTokens,
        grid: tuple[int, int],
        arguments: Arguments,
        kept_arguments: Callable[[], Arguments],
    ) -> torch.Tensor:
        """(B, T + N, C) -> (B, M, C)."""
        return run_reducing_block(block, tokens, kept, arguments)


class NearestTokens(nn.Module):
    """The block sees the kept tokens alone, the others are dropped before it: "nearest on Q, K and V"."""

    def forward(
        self,
        block: nn.Module,
        tokens: torch.Tensor,
        kept: KeptTokens,
        grid: tuple[int, int],
        arguments: Arguments,
        kept_arguments: Callable[[], Arguments],
    ) -> torch.Tensor:
        """(B, T + N, C) -> (B, M, C)."""
        return block(kept.select(tokens), **kept_arguments())


class ConvolvedQueries(nn.Module):
    """Queries from a convolution over the normed map, keys and values from all tokens: "convolution on Q".

    The paper says no more; ours is 3 x 3 with stride 2, centred on the kept cells (odd grids round up), starts from
    torch's random init, and leaves the residual stream to the kept tokens. Prefix tokens are their own queries.

    Args:
        embed_dim: C.
    """

    def __init__(self, *, embed_dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(embed_dim, embed_dim, kernel_size=3, stride=2, padding=1)

    def forward(
        self,
        block: nn.Module,
        tokens: torch.Tensor,
        kept: KeptTokens,
        grid: tuple[int, int],
        arguments: Arguments,
        kept_arguments: Callable[[], Arguments],
    ) -> torch.Tensor:
        """(B, T + N, C) -> (B, M, C). Raises UserError for a block whose queries cannot be given."""
        if not can_split(block):
            raise UserError(
                "MODEL.VIT.REDUCTION_SAMPLING 'conv_q' needs blocks of timm's plain ViT, not those of this encoder: "
                "set 'nearest_q' or 'nearest_qkv'"
            )
        normed = block.norm1(tokens)
        num_prefix_tokens = tokens.shape[1] - grid[0] * grid[1]
        convolved = map_to_tokens(self.conv(tokens_to_map(normed[:, num_prefix_tokens:], grid)))
        queries = torch.cat([normed[:, :num_prefix_tokens], convolved], dim=1)
        return run_split_block(block, kept.select(tokens), queries, normed)


QuerySampling = NearestQueries | NearestTokens | ConvolvedQueries
