"""`CellTokens`: tokens of patches where a cell of 2 x 2 patches is kept fine, and one token for every other cell.

Of an odd number of rows or columns, the last one is in no cell: its patches are always kept. Afterwards any of these
tokens may be merged into one another (`GlobalMerging`); the token that others are merged into stays where it is.

Shape shorthand: B images, h x w grid, N = h*w patches, Q = (h // 2) * (w // 2) cells, T prefix tokens, M kept tokens
(with prefix), C width.
"""

from __future__ import annotations

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
        corners: (4 * Q,) int64: the patches of all cells, see `corner_indices`.
        grid: (h, w).
        num_prefix_tokens: T.
        size_dtype: attention counts a token as the patches that share it, by a bias of this type; None: as one.
        merged_into: (B, N) int64: for each patch, the index of its token among the M - T; None: its own, or its cell's.
    """

    keep_indices: torch.Tensor
    valid: torch.Tensor | None
    is_fine: torch.Tensor
    corners: torch.Tensor
    grid: Grid
    num_prefix_tokens: int
    size_dtype: torch.dtype | None
    merged_into: torch.Tensor | None = None

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
        """(B, 1, 1, M): the logarithm of `sizes`, minus infinity for padding.

        With it, attention to the kept tokens equals attention to their copies on all patches.
        """
        return self.sizes.to(dtype).log()[:, None, None]

    @cached_property
    def sizes(self) -> torch.Tensor:
        """(B, M) float32: how many patches share each token; 1 for prefix tokens, 0 for padding."""
        if self.merged_into is None:
            is_cell = self.keep_indices >= self.num_prefix_tokens + self.grid[0] * self.grid[1]
            sizes = 1 + 3 * is_cell.float()
            return sizes if self.valid is None else sizes * self.valid
        patches = torch.ones_like(self.merged_into, dtype=torch.float32)
        sizes = torch.zeros_like(self.kept_cells_and_patches, dtype=torch.float32)
        sizes = sizes.scatter_add(1, self.merged_into, patches)
        return torch.cat([patches.new_ones(sizes.shape[0], self.num_prefix_tokens), sizes], dim=1)

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
        sizes = self.sizes[:, self.num_prefix_tokens :].gather(1, self.token_of_patch)
        return (sizes == 1).unflatten(1, self.grid)

    def restore(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens without prefix (B, M - T, C) -> (B, N, C): a token is copied to the patches that share it."""
        return gather_tokens(tokens, self.token_of_patch)

    def restore_masks(self, masks: torch.Tensor) -> torch.Tensor:
        """Mask logits of the tokens without prefix (B, K, M - T) -> (B, K, h, w)."""
        indices = self.token_of_patch[:, None].expand(-1, masks.shape[1], -1)
        return masks.gather(2, indices).unflatten(2, self.grid)

    @cached_property
    def token_of_patch(self) -> torch.Tensor:
        """(B, N) int64: for each patch, the index of its token among those without prefix."""
        if self.merged_into is not None:
            return self.merged_into
        indices = self.kept_cells_and_patches
        num_patches, num_cells = self.grid[0] * self.grid[1], self.is_fine.shape[1]
        # Invert the indices, counted from 1, so that 0 says that a patch or a cell has no token.
        tokens = torch.arange(1, indices.shape[1] + 1, device=indices.device).expand_as(indices)
        if self.valid is not None:
            tokens = tokens * self.valid[:, self.num_prefix_tokens :]
        token_of = indices.new_zeros(indices.shape[0], num_patches + num_cells).scatter(1, indices, tokens)
        own, of_cells = token_of[:, :num_patches], token_of[:, num_patches:]
        # Each patch has one or the other.
        return torch.maximum(own, spread_over_corners(of_cells, self.corners, torch.zeros_like(own))) - 1


def corner_indices(grid: Grid, device: torch.device) -> torch.Tensor:
    """(4 * Q,) int64: the four patches of each cell, first those at the top left, then row by row."""
    # By division: of slices and of broadcasts, an exporter would compare the sizes.
    cells = torch.arange((grid[0] // 2) * (grid[1] // 2), device=device)
    cells_per_row = max(grid[1] // 2, 1)
    # 2 * grid[1] patches for each row of cells above, and two for each cell to the left.
    first = 2 * (cells + (grid[1] - cells_per_row) * (cells // cells_per_row))
    return torch.cat([first, first + 1, first + grid[1], first + (grid[1] + 1)])


def corners(of_patches: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B, N, ...) per patch, and `corner_indices` -> (B, 4, Q, ...): the four patches of each cell, row by row."""
    return of_patches.index_select(1, indices).unflatten(1, (4, -1))


def spread_over_corners(of_cells: torch.Tensor, indices: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """(B, Q) per cell -> (B, N): each patch has what its cell has; those in no cell stay as in `others` (B, N)."""
    return others.scatter(1, indices.expand(others.shape[0], -1), of_cells.repeat(1, 4))


def are_kept_patches(is_fine: torch.Tensor, indices: torch.Tensor, grid: Grid) -> torch.Tensor:
    """(B, Q) -> (B, N) bool: the patches of fine cells and those in no cell."""
    return spread_over_corners(is_fine, indices, is_fine.new_ones(is_fine.shape[0], grid[0] * grid[1]))


def place_in_rows(indices: torch.Tensor, per_row: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of row-major indices. Without `%`, which ONNX cannot take with a dynamic length."""
    rows = indices // per_row
    return rows, indices - per_row * rows
