"""Query-based down-sampling (QD): one block keeps fewer tokens than it reads (SegViT v1, section 3.4).

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens, C width.
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.modeling.split_attention import attend, can_split


class QueryDownsampling(nn.Module):
    """Keep every second token of every second row: nearest sampling by two, prefix tokens always stay.

    Args:
        block_index: 0-based block whose queries are the kept tokens; later blocks see those alone.
        num_prefix_tokens: T.
    """

    def __init__(self, *, block_index: int, num_prefix_tokens: int) -> None:
        super().__init__()
        self.block_index = block_index
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, grid: tuple[int, int], device: torch.device) -> tuple[torch.Tensor, tuple[int, int]]:
        """The kept positions (M,) in the sequence of T + N tokens, ascending, and the grid that they form."""
        num_prefix_tokens = self.num_prefix_tokens
        patches = torch.arange(num_prefix_tokens, num_prefix_tokens + grid[0] * grid[1], device=device).unflatten(
            0, grid
        )
        sampled = patches[::2, ::2]
        prefix = torch.arange(num_prefix_tokens, device=device)
        return torch.cat([prefix, sampled.flatten()]), (sampled.shape[0], sampled.shape[1])


def run_reducing_block(
    block: nn.Module, tokens: torch.Tensor, kept: torch.Tensor, arguments: dict[str, torch.Tensor]
) -> torch.Tensor:
    """A block's output at the kept tokens: queries from them, keys and values from all.

    A kept token's output equals that of the whole block followed by dropping. Blocks that cannot be split (rotary
    or relative positions, other norms) run whole and drop: the same numbers, more work.

    Args:
        block: a block of timm.
        tokens: (B, T + N, C).
        kept: (M,) positions.
        arguments: what the block's attention needs to know of positions.

    Returns:
        (B, M, C)
    """
    if not can_split(block):
        return block(tokens, **arguments)[:, kept]
    normed = block.norm1(tokens)
    queries = tokens[:, kept] + block.drop_path1(block.ls1(attend(block.attn, normed[:, kept], normed)))
    return queries + block.drop_path2(block.ls2(block.mlp(block.norm2(queries))))
