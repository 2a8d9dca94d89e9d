"""Rotary and relative position arguments of timm blocks, for full grids and for the tokens that a reduction kept.

The token of a cell of 2 x 2 patches has the position of the cell's centre, half a patch from theirs.

Each class maps a grid, and optionally the kept tokens, to a function `block_kwargs(index)` that returns the keyword
arguments of one block. It is a function so that the position biases of two blocks need not be in memory together.

Shape shorthand: B images, h x w grid, N = h*w patch tokens, T prefix tokens, M kept tokens (with prefix), d head width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.grid_tensors import Grid, GridTensors, is_exporting
from segvit.modeling.token_reduction.cell_tokens import CellTokens, corners
from segvit.modeling.token_reduction.token_set import KeptTokens

BlockKwargs = Callable[[int], dict[str, Any]]
Kept = KeptTokens | CellTokens


def mask_kwargs(kept: Kept | None) -> dict[str, Any]:
    """The attention mask of the kept tokens, as a keyword argument of a block; empty for none."""
    mask = None if kept is None else kept.key_mask
    return {} if mask is None else {"attn_mask": mask}


class AbsolutePositions(nn.Module):
    """Positions are part of the tokens (ViT, DeiT, MAE, CLIP, DINO, DINOv2): blocks get the mask of padded tokens."""

    def forward(self, grid: tuple[int, int], kept: Kept | None = None) -> BlockKwargs:
        kwargs = mask_kwargs(kept)
        return lambda index: kwargs


class RotaryPositions(nn.Module):
    """Rotary embedding of patch tokens (EVA-02, DINOv3), computed by timm.

    Args:
        rope: timm's module.
        num_prefix_tokens: T; they are not rotated.
        grid_size: (h, w), the usual grid. Its embedding is kept: timm computes that of DINOv3 from coordinates on the
            CPU, for which a GPU would be waited for.
    """

    kept_embedding: torch.Tensor
    kept_shifted_embedding: torch.Tensor

    def __init__(self, *, rope: Any, num_prefix_tokens: int, grid_size: Grid) -> None:
        super().__init__()
        self.rope = rope
        self.num_prefix_tokens = num_prefix_tokens
        self.grid_size = grid_size
        self.register_buffer("kept_embedding", rope.eval().get_embed(shape=list(grid_size)), persistent=False)
        # The same for places half a patch below and to the right, the centres of cells.
        self.shifted_rope = shifted_by_half_a_patch(rope)
        if self.shifted_rope is not None:
            shifted = self.shifted_rope.get_embed(shape=list(grid_size))
            self.register_buffer("kept_shifted_embedding", shifted, persistent=False)

    def forward(self, grid: tuple[int, int], kept: Kept | None = None) -> BlockKwargs:
        rope = self._embedding(grid)  # (N, 2 d): sines and cosines
        if isinstance(kept, CellTokens):
            rope = torch.cat([rope, self._cell_embedding(grid, kept.corners)])  # (N + Q, 2 d)
        if kept is not None:
            patch_indices = kept.keep_indices[:, self.num_prefix_tokens :] - self.num_prefix_tokens
            rope = rope[patch_indices][:, None]  # (B or 1, 1, M - T, 2 d)
        kwargs = {"rope": rope, **mask_kwargs(kept)}
        return lambda index: kwargs

    def _embedding(self, grid: Grid) -> torch.Tensor:
        is_random = self.training and getattr(self.rope, "aug_active", False)
        # In an export the branch would fix the grid.
        if is_exporting() or is_random or grid != self.grid_size:
            return self.rope.get_embed(shape=list(grid))
        return self.kept_embedding

    def _cell_embedding(self, grid: Grid, cell_corners: torch.Tensor) -> torch.Tensor:
        """(Q, 2 d): at the centre of each cell, half a patch below and to the right of its first patch."""
        shifted = self.kept_shifted_embedding
        if is_exporting() or grid != self.grid_size:
            shifted = self.shifted_rope.get_embed(shape=list(grid))
        return corners(shifted[None], cell_corners)[0, 0]


def shifted_by_half_a_patch(rope: Any) -> Any:
    """A copy of timm's rotary embedding for places half a patch further; None for a kind without an offset."""
    if not hasattr(rope, "grid_offset"):
        return None
    shifted = copy.deepcopy(rope)
    shifted.grid_offset += 0.5
    return shifted


class RelativePositions(GridTensors):
    """Learned bias for each pair of relative positions (BEiT, BEiTv2), one table per block or one for all.

    In timm a table is bound to one grid. Here the tables are outside of the blocks and are resized to any grid.

    Args:
        tables: one per block, or a single one for all blocks; (2h - 1) * (2w - 1) rows, and 3 for the class token.
        grid_size: (h, w) of the tables.
    """

    def __init__(self, *, tables: list[nn.Parameter], grid_size: tuple[int, int]) -> None:
        super().__init__()
        self.tables = nn.ParameterList(tables if len(tables) > 1 else [])
        self.shared_table = tables[0] if len(tables) == 1 else None
        self.grid_size = grid_size

    def forward(self, grid: tuple[int, int], kept: Kept | None = None) -> BlockKwargs:
        # The row of the table for each pair of tokens.
        device = (self.tables[0] if self.shared_table is None else self.shared_table).device
        if isinstance(kept, CellTokens):
            rows = relative_rows_of_cells(kept)  # (B, M, M)
        else:
            rows = relative_rows(grid, device)[None]  # (1, 1 + N, 1 + N)
            if kept is not None:
                rows = rows[0][kept.keep_indices[:, :, None], kept.keep_indices[:, None]]  # (B or 1, M, M)

        # The bias, from each block's own table or once for all blocks.
        if self.shared_table is None:
            return lambda index: self._bias_kwargs(self.tables[index], grid, rows, kept)
        kwargs = self._bias_kwargs(self.shared_table, grid, rows, kept)
        return lambda index: kwargs

    def _bias_kwargs(
        self, table: torch.Tensor, grid: tuple[int, int], rows: torch.Tensor, kept: Kept | None
    ) -> dict[str, Any]:
        table = self._resize(table, grid)
        if isinstance(kept, CellTokens):
            table = with_half_distances(table, grid)
        # Rows are selected head by head, which writes the bias in its final order: (B or 1, heads, M, M).
        bias = table.T.contiguous().index_select(1, rows.flatten()).unflatten(1, rows.shape).transpose(0, 1)
        key_mask = None if kept is None else kept.key_mask
        if key_mask is not None:
            is_bool = key_mask.dtype == torch.bool
            bias = bias.masked_fill(~key_mask, float("-inf")) if is_bool else bias + key_mask.to(bias.dtype)
        return {"shared_rel_pos_bias": bias.contiguous()}

    def _resize(self, table: torch.Tensor, grid: Grid) -> torch.Tensor:
        # Do not skip the resize in an export: the branch would fix the grid. Resizing to the same grid is exact.
        if not is_exporting() and grid == self.grid_size:
            return table
        return self.resized(table, self.grid_size, grid)

    def grid_tensors(self) -> list[str]:
        return ["shared_table"] if self.shared_table is not None else [f"tables.{i}" for i in range(len(self.tables))]

    def length_on(self, grid: Grid) -> int:
        return (2 * grid[0] - 1) * (2 * grid[1] - 1) + 3

    def resized(self, tensor: torch.Tensor, old: Grid, new: Grid) -> torch.Tensor:
        """A table with its rows of patch pairs resized bicubically; the last 3 rows (class token) stay."""
        old_size, new_size = ((2 * grid[0] - 1, 2 * grid[1] - 1) for grid in (old, new))
        pairs = tensor[:-3].unflatten(0, old_size).permute(2, 0, 1)[None]
        pairs = F.interpolate(pairs, size=new_size, mode="bicubic", align_corners=False)
        return torch.cat([pairs[0].permute(1, 2, 0).flatten(0, 1), tensor[-3:]])


def relative_rows(grid: Grid, device: torch.device) -> torch.Tensor:
    """(1 + N, 1 + N) int64: the row of a BEiT table for each pair of query and key; the class token comes first.

    The order is that of timm's `gen_relative_position_index`, which waits for a GPU.
    """
    vertical, horizontal = (_distances(length, device) for length in grid)
    # The rows of patch pairs, by vertical and then by horizontal distance: (h, 1, h, 1) and (w, 1, w).
    width, pairs = 2 * grid[1] - 1, (2 * grid[0] - 1) * (2 * grid[1] - 1)
    rows = width * vertical[:, None, :, None] + horizontal[:, None]
    return _with_class_token(rows.flatten(2).flatten(0, 1), pairs)


def relative_rows_of_cells(kept: CellTokens) -> torch.Tensor:
    """(B, M, M) int64: as `relative_rows`, of kept tokens, in a table `with_half_distances`."""
    height, width = (4 * length - 3 for length in kept.grid)
    vertical, horizontal = (places[:, :, None] - places[:, None] for places in kept.half_patches)
    rows = width * (vertical + height // 2) + horizontal + width // 2
    return _with_class_token(rows, height * width)


def with_half_distances(table: torch.Tensor, grid: Grid) -> torch.Tensor:
    """A BEiT table with rows for half distances between its own: ((4h - 3) * (4w - 3) + 3, heads).

    The centre of a cell is half a patch from those of its patches, in both directions. The bias at such a distance is
    the mean of the four around it, which are the distances to the cell's four patches; whole distances stay exact.
    """
    pairs = table[:-3].unflatten(0, (2 * grid[0] - 1, 2 * grid[1] - 1)).permute(2, 0, 1)[None]
    doubled = (4 * grid[0] - 3, 4 * grid[1] - 3)
    pairs = F.interpolate(pairs, size=doubled, mode="bilinear", align_corners=True)
    return torch.cat([pairs[0].permute(1, 2, 0).flatten(0, 1), table[-3:]])


def _with_class_token(rows: torch.Tensor, pairs: int) -> torch.Tensor:
    """(..., M, M) rows of pairs of patches -> (..., 1 + M, 1 + M), with those of the class token.

    After the table's first `pairs` rows come three: of the class token as query, as key, and as both.
    """
    rows = F.pad(rows, (1, 0, 1, 0))
    rows[..., :1, :] = pairs
    rows[..., :, :1] = pairs + 1
    rows[..., :1, :1] = pairs + 2
    return rows


def _distances(length: int, device: torch.device) -> torch.Tensor:
    """(length, length): query minus key, from 0 on."""
    positions = torch.arange(length, device=device)
    return positions[:, None] - positions + (length - 1)
