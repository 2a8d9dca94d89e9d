"""`KeptTokens`: which tokens a reduction keeps. `TokenSet` and `CellMap`: encoder stages of fewer tokens than patches.

Shape shorthand: B images, h x w grid, N = h*w patch tokens, T prefix tokens, M kept tokens, C channels, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from segvit.modeling.token_reduction.cell_tokens import CellTokens
from segvit.modeling.tokens import gather_tokens, map_to_tokens, tokens_to_map


@dataclass(frozen=True)
class KeptTokens:
    """Which tokens of a sequence a reduction keeps.

    Attributes:
        keep_indices: (B, M), or (1, M) if the same for every image; int64 indices into the T + N tokens. Prefix tokens
            first, then patch tokens in ascending order, then padding.
        valid: (B, M) bool, False for padding; None if nothing is padded.
        grid: (h', w') if the kept patch tokens form a regular grid, else None.
    """

    keep_indices: torch.Tensor
    valid: torch.Tensor | None
    grid: tuple[int, int] | None

    def select(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T + N, C) -> (B, M, C)."""
        return gather_tokens(tokens, self.keep_indices)

    @property
    def key_mask(self) -> torch.Tensor | None:
        """(B, 1, 1, M) attention mask, False for padding; None if nothing is padded."""
        return None if self.valid is None else self.valid[:, None, None]


@dataclass(frozen=True)
class TokenSet:
    """Patch tokens at some cells of a grid: an encoder stage after edge-aware downsampling.

    Attributes:
        tokens: (B, M, C).
        indices: (B, M) int64, row-major index of each token's cell in the full grid.
        valid: (B, M) bool, False for padding; None if nothing is padded.
        grid: (h, w), the full grid.
    """

    tokens: torch.Tensor
    indices: torch.Tensor
    valid: torch.Tensor | None
    grid: tuple[int, int]

    @property
    def key_mask(self) -> torch.Tensor | None:
        """(B, 1, 1, M) attention mask, False for padding; None if nothing is padded."""
        return None if self.valid is None else self.valid[:, None, None]


@dataclass(frozen=True)
class CellMap:
    """A map in which the patches of some cells share a token: an encoder stage after a reduction to cells.

    Attributes:
        tokens: (B, M, C), without prefix tokens.
        cells: where they are.
    """

    tokens: torch.Tensor
    cells: CellTokens

    def to_map(self) -> torch.Tensor:
        """(B, C, h, w)"""
        return tokens_to_map(self.cells.restore(self.tokens), self.cells.grid)


# One output of an encoder: a map (B, C, h, w), such a map with its distinct tokens, or the tokens that edge-aware
# downsampling kept.
Stage = torch.Tensor | CellMap | TokenSet


def as_map(stage: torch.Tensor | CellMap) -> torch.Tensor:
    """A stage that is a map as (B, C, h, w)."""
    return stage.to_map() if isinstance(stage, CellMap) else stage


def stage_tokens(stage: Stage) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A stage as tokens (B, M, C) and their attention mask (B, 1, 1, M), None if nothing is padded."""
    if isinstance(stage, TokenSet):
        return stage.tokens, stage.key_mask
    return map_to_tokens(as_map(stage)), None


def stage_of_dtype(stage: Stage, dtype: torch.dtype) -> Stage:
    """The stage with its tokens in a floating-point type."""
    return stage.to(dtype) if isinstance(stage, torch.Tensor) else replace(stage, tokens=stage.tokens.to(dtype))


def stage_grid(stage: Stage) -> tuple[int, int]:
    """(h, w) of a map, or of the full grid of a `TokenSet`."""
    if isinstance(stage, CellMap):
        return stage.cells.grid
    return stage.grid if isinstance(stage, TokenSet) else (stage.shape[-2], stage.shape[-1])


def restore_nearest(tokens: torch.Tensor, stage: Stage, grid: tuple[int, int]) -> torch.Tensor:
    """Spread the tokens of a reduced stage over the full grid.

    A kept cell gets its own token. A dropped cell gets the token of the coarse grid (every second row and column,
    always kept) above and to the left of it, at most one row and one column away.

    Args:
        tokens: (B, M, D), the stage's tokens or a projection of them.
        stage: gives the tokens' cells: a `TokenSet`, a map on the coarse grid, or a `CellMap`, whose N tokens stay.
        grid: (h, w).

    Returns:
        (B, N, D)
    """
    return gather_tokens(tokens, nearest_token_indices(stage, grid, tokens.device))


def nearest_token_indices(stage: Stage, grid: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(B or 1, N): for each cell, the index of its nearest token among the stage's M tokens."""
    if isinstance(stage, CellMap):
        return torch.arange(grid[0] * grid[1], device=device)[None]
    rows, columns = (torch.arange(length, device=device) for length in grid)
    if not isinstance(stage, TokenSet):
        return ((rows // 2)[:, None] * stage.shape[-1] + columns // 2).flatten()[None]

    # For each cell, the cell of the coarse grid above and to the left.
    coarse_cells = ((rows // 2 * 2)[:, None] * grid[1] + columns // 2 * 2).flatten()  # (N,)

    # Invert `indices`: for each cell, its token, and -1 for dropped cells, where padding is, too.
    cells = stage.indices  # (B, M)
    token_indices = torch.arange(cells.shape[1], device=device).expand_as(cells)
    if stage.valid is not None:
        token_indices = torch.where(stage.valid, token_indices, -1)
    token_of_cell = cells.new_full((cells.shape[0], grid[0] * grid[1]), -1).scatter(1, cells, token_indices)

    # Kept cells take their own token, dropped ones that of their coarse cell.
    return torch.where(token_of_cell >= 0, token_of_cell, token_of_cell[:, coarse_cells])
