"""Fill the cells of a grid whose tokens were dropped with the nearest one that was kept.

Shape shorthand: B images, h x w grid, N = h*w cells, M kept tokens, D width.
"""

from __future__ import annotations

import torch

from segvit.modeling.token_reduction.token_set import Stage, TokenSet, tokens_at


def restore_nearest(tokens: torch.Tensor, stage: Stage, grid: tuple[int, int]) -> torch.Tensor:
    """Spread the tokens of a reduced stage over the full grid.

    A kept cell receives its own token, a dropped one that of the cell of the coarse grid (every second row and column,
    always kept) above and left of it, which is at most one row and one column away.

    Args:
        tokens: (B, M, D), the stage's tokens or a projection of them.
        stage: where they lie: a `TokenSet`, or a map on the coarse grid.
        grid: (h, w).

    Returns:
        (B, N, D)
    """
    return tokens_at(tokens, nearest_tokens(stage, grid, tokens.device))


def nearest_tokens(stage: Stage, grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(B or 1, N) for each cell, the index among the stage's tokens of the one that stands for it."""
    rows, columns = (torch.arange(length, device=device) for length in grid)
    if not isinstance(stage, TokenSet):
        return ((rows // 2)[:, None] * stage.shape[-1] + columns // 2).flatten()[None]
    coarse_cells = ((rows // 2 * 2)[:, None] * grid[1] + columns // 2 * 2).flatten()  # (N,)
    slots = torch.arange(stage.cells.shape[1], device=device).expand_as(stage.cells)
    # Padding lies on dropped cells: what it writes there is read by none.
    slot_of_cell = torch.zeros(stage.cells.shape[0], grid[0] * grid[1], dtype=torch.int64, device=device)
    slot_of_cell = slot_of_cell.scatter(1, stage.cells, slots)
    is_kept = torch.zeros_like(slot_of_cell, dtype=torch.bool).scatter(
        1, stage.cells, torch.ones_like(stage.cells, dtype=torch.bool) if stage.valid is None else stage.valid
    )
    return torch.where(is_kept, slot_of_cell, slot_of_cell[:, coarse_cells])
