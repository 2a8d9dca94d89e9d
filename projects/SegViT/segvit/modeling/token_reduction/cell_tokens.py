"""`CellTokens`: tokens of patches where a cell of 2 x 2 patches is kept fine, and one token for every other cell.

Of an odd number of rows or columns, the last one is in no cell: its patches are always kept.

Shape shorthand: B images, h x w grid, N = h*w patches, Q = (h // 2) * (w // 2) cells, T prefix tokens, M kept tokens
(with prefix), C width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch

from segvit.modeling.grid_tensors import Grid
from segvit.modeling.tokens import gather_tokens


@dataclass(frozen=True)
class CellTokens:
    """Which tokens of patches and cells stay.

    Attributes:
        keep_indices: (B, M) int64, into T prefix tokens, N patches and Q cells; ascending, then padding.
        valid: (B, M) bool, False for padding; None if nothing is padded.
        is_fine: (B, Q) bool: the cells whose patches are kept.
        grid: (h, w).
        num_prefix_tokens: T.
        size_dtype: attention counts the token of a cell as its four patches, by a bias of this type; None: as one.
    """

    keep_indices: torch.Tensor
    valid: torch.Tensor | None
    is_fine: torch.Tensor
    grid: Grid
    num_prefix_tokens: int
    size_dtype: torch.dtype | None

    def select(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens of prefix, patches and cells (B, T + N + Q, C) -> (B, M, C)."""
        return gather_tokens(tokens, self.keep_indices)

    @property
    def kept_cells_and_patches(self) -> torch.Tensor:
        """(B, M - T): `keep_indices` without the prefix tokens, into N patches and Q cells."""
        return self.keep_indices[:, self.num_prefix_tokens :] - self.num_prefix_tokens

    @cached_property
    def key_mask(self) -> torch.Tensor | None:
        """(B, 1, 1, M) for attention, None for none: False for padding, or with `size_dtype` log sizes as a bias."""
        if self.size_dtype is None:
            return None if self.valid is None else self.valid[:, None, None]
        return self.size_bias(self.size_dtype)

    def size_bias(self, dtype: torch.dtype) -> torch.Tensor:
        """(B, 1, 1, M): log 4 for cells, minus infinity for padding, else 0.

        With it, attention to the kept tokens equals attention to their copies on all patches.
        """
        is_cell = self.keep_indices >= self.num_prefix_tokens + self.grid[0] * self.grid[1]
        bias = is_cell.to(dtype) * math.log(4)
        if self.valid is not None:
            bias = bias.masked_fill(~self.valid, float("-inf"))
        return bias[:, None, None]

    @cached_property
    def half_patches(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Row and column of the centre of each token but the prefix, (B, M - T) int64, in half patches."""
        indices = self.kept_cells_and_patches
        height, width = self.grid
        cells = indices - height * width
        is_cell = cells >= 0
        cell_row, cell_column = place_in_rows(cells, max(width // 2, 1))
        row, column = place_in_rows(indices, width)
        rows = torch.where(is_cell, 4 * cell_row + 1, 2 * row)
        columns = torch.where(is_cell, 4 * cell_column + 1, 2 * column)
        return rows, columns

    @property
    def own_tokens(self) -> torch.Tensor:
        """(B, h, w) bool: the patches that have a token of their own."""
        return are_kept_patches(self.is_fine, self.grid).unflatten(1, self.grid)

    def restore(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens without prefix (B, M - T, C) -> (B, N, C): a cell's token is copied to its patches."""
        return gather_tokens(tokens, self._token_of_patch)

    def restore_masks(self, masks: torch.Tensor) -> torch.Tensor:
        """Mask logits of the tokens without prefix (B, K, M - T) -> (B, K, h, w)."""
        indices = self._token_of_patch[:, None].expand(-1, masks.shape[1], -1)
        return masks.gather(2, indices).unflatten(2, self.grid)

    @cached_property
    def _token_of_patch(self) -> torch.Tensor:
        """(B, N) int64: for each patch, the index of its token, or of its cell's."""
        indices = self.kept_cells_and_patches
        num_patches, num_cells = self.grid[0] * self.grid[1], self.is_fine.shape[1]
        # Invert the indices. Padding is at dropped patches and cells, whose entries are not read; the last entry is
        # that of the patches in no cell.
        tokens = torch.arange(indices.shape[1], device=indices.device).expand_as(indices)
        token_of = indices.new_zeros(indices.shape[0], num_patches + num_cells + 1).scatter(1, indices, tokens)
        cell_of_patch = cells_of_patches(self.grid, indices.device)
        own, of_cell = token_of[:, :num_patches], token_of[:, num_patches:][:, cell_of_patch]
        return torch.where(are_kept_patches(self.is_fine, self.grid), own, of_cell)


def cells_of_patches(grid: Grid, device: torch.device) -> torch.Tensor:
    """(N,) int64: the cell of each patch; Q for those in no cell."""
    rows, columns = (torch.arange(length, device=device) // 2 for length in grid)
    cells = rows[:, None] * (grid[1] // 2) + columns
    in_no_cell = (rows >= grid[0] // 2)[:, None] | (columns >= grid[1] // 2)
    return cells.masked_fill(in_no_cell, (grid[0] // 2) * (grid[1] // 2)).flatten()


def are_kept_patches(is_fine: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(B, Q) -> (B, N) bool: the patches of fine cells and those in no cell."""
    with_no_cell = torch.cat([is_fine, is_fine.new_ones(is_fine.shape[0], 1)], dim=1)
    return with_no_cell[:, cells_of_patches(grid, is_fine.device)]


def corners(of_patches: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(B, N, ...) per patch -> (B, 4, Q, ...): the four patches of each cell, row by row."""
    # By indices, and these by division: of slices and of broadcasts, an exporter would compare the sizes.
    cells = torch.arange((grid[0] // 2) * (grid[1] // 2), device=of_patches.device)
    cells_per_row = max(grid[1] // 2, 1)
    row, column = place_in_rows(cells, cells_per_row)
    first = 2 * grid[1] * row + 2 * column
    indices = torch.cat([first, first + 1, first + grid[1], first + grid[1] + 1])
    return of_patches.index_select(1, indices).unflatten(1, (4, -1))


def place_in_rows(indices: torch.Tensor, per_row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of row-major indices. Without `%`, which ONNX cannot take with a dynamic length."""
    rows = indices // per_row
    return rows, indices - per_row * rows
