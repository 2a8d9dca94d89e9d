"""`restore_nearest`: fill a full grid from the tokens that a reduction kept, each cell with its nearest kept token.

Shape shorthand: B images, h x w grid, N = h*w cells, M kept tokens, D width.
"""

from __future__ import annotations

import torch

from segvit.modeling.token_reduction.token_set import Stage, TokenSet, gather_tokens


def restore_nearest(tokens: torch.Tensor, stage: Stage, grid: tuple[int, int]) -> torch.Tensor:
    """Spread the tokens of a reduced stage over the full grid.

    A kept cell gets its own token. A dropped cell gets the token of the coarse grid (every second row and column,
    always kept) above and to the left of it, at most one row and one column away.

    Args:
        tokens: (B, M, D), the stage's tokens or a projection of them.
        stage: gives the tokens' cells: a `TokenSet`, or a map on the coarse grid.
        grid: (h, w).

    Returns:
        (B, N, D)
    """
    return gather_tokens(tokens, nearest_token_indices(stage, grid, tokens.device))


def nearest_token_indices(stage: Stage, grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(B or 1, N): for each cell, the index of its nearest token among the stage's M tokens."""
    rows, columns = (torch.arange(length, device=device) for length in grid)
    if not isinstance(stage, TokenSet):
        return ((rows // 2)[:, None] * stage.shape[-1] + columns // 2).flatten()[None]

    # For each cell, the cell of the coarse grid above and to the left.
    coarse_cells = ((rows // 2 * 2)[:, None] * grid[1] + columns // 2 * 2).flatten()  # (N,)

    # Invert `indices`: for each cell, its token. Padding is at dropped cells, whose entries are not read.
    cells = stage.indices  # (B, M)
    token_indices = torch.arange(cells.shape[1], device=device).expand_as(cells)
    token_of_cell = torch.zeros(cells.shape[0], grid[0] * grid[1], dtype=torch.int64, device=device)
    token_of_cell = token_of_cell.scatter(1, cells, token_indices)

    # Kept cells take their own token, dropped ones that of their coarse cell.
    valid = torch.ones_like(cells, dtype=torch.bool) if stage.valid is None else stage.valid
    is_kept = torch.zeros_like(token_of_cell, dtype=torch.bool).scatter(1, cells, valid)
    return torch.where(is_kept, token_of_cell, token_of_cell[:, coarse_cells])
