"""Query-based down-sampling (QD): one block keeps fewer tokens than it reads (SegViT v1, section 3.4).

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens, C width.
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.modeling.token_reduction.query_sampling import QuerySampling
from segvit.modeling.token_reduction.token_set import KeptTokens


class QueryDownsampling(nn.Module):
    """Keep every second token of every second row: nearest sampling by two, prefix tokens always stay.

    Args:
        block_index: 0-based block whose queries are the kept tokens; later blocks see those alone.
        num_prefix_tokens: T.
        sampling: how that block runs.
    """

    def __init__(self, *, block_index: int, num_prefix_tokens: int, sampling: QuerySampling) -> None:
        super().__init__()
        self.block_index = block_index
        self.num_prefix_tokens = num_prefix_tokens
        self.sampling = sampling

    def forward(self, grid: tuple[int, int], *, device: torch.device) -> KeptTokens:
        """The kept tokens, the same for every image, and the grid that they form."""
        rows, columns = (torch.arange(0, length, 2, device=device) for length in grid)
        cells = (rows[:, None] * grid[1] + columns).flatten()
        prefix = torch.arange(self.num_prefix_tokens, device=device)
        positions = torch.cat([prefix, self.num_prefix_tokens + cells])
        return KeptTokens(positions=positions[None], valid=None, grid=(rows.shape[0], columns.shape[0]))


def on_coarse_grid(grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(N,) bool: the cells of every second row and column, the first ones included."""
    even_rows, even_columns = (torch.arange(length, device=device) % 2 == 0 for length in grid)
    return (even_rows[:, None] & even_columns).flatten()
