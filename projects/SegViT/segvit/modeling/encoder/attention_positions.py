"""Rotary and relative position arguments of timm blocks, for full grids and for the tokens that a reduction kept.

Each class maps a grid, and optionally the kept tokens, to a function `block_kwargs(index)` that returns the keyword
arguments of one block. It is a function so that the position biases of two blocks need not be in memory together.

Shape shorthand: B images, h x w grid, N = h*w patch tokens, T prefix tokens, M kept tokens (with prefix), d head width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.beit import gen_relative_position_index
from torch import nn

from segvit.modeling.grid_tensors import Grid, GridTensors
from segvit.modeling.token_reduction.token_set import KeptTokens

BlockKwargs = Callable[[int], dict[str, Any]]


def mask_kwargs(kept: KeptTokens | None) -> dict[str, Any]:
    """The attention mask of padded tokens, as a keyword argument of a block; empty if nothing is padded."""
    mask = None if kept is None else kept.key_mask
    return {} if mask is None else {"attn_mask": mask}


class AbsolutePositions(nn.Module):
    """Positions are part of the tokens (ViT, DeiT, MAE, CLIP, DINO, DINOv2): blocks get the mask of padded tokens."""

    def forward(self, grid: tuple[int, int], kept: KeptTokens | None = None) -> BlockKwargs:
        kwargs = mask_kwargs(kept)
        return lambda index: kwargs


class RotaryPositions(nn.Module):
    """Rotary embedding of patch tokens (EVA-02, DINOv3); timm computes it for each grid.

    Args:
        rope: timm's module.
        num_prefix_tokens: T; they are not rotated.
    """

    def __init__(self, *, rope: nn.Module, num_prefix_tokens: int) -> None:
        super().__init__()
        self.rope: Any = rope
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, grid: tuple[int, int], kept: KeptTokens | None = None) -> BlockKwargs:
        rope = self.rope.get_embed(shape=list(grid))  # (N, 2 d): sines and cosines
        if kept is not None:
            patch_indices = kept.keep_indices[:, self.num_prefix_tokens :] - self.num_prefix_tokens
            rope = rope[patch_indices][:, None]  # (B or 1, 1, M - T, 2 d)
        kwargs = {"rope": rope, **mask_kwargs(kept)}
        return lambda index: kwargs


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

    def forward(self, grid: tuple[int, int], kept: KeptTokens | None = None) -> BlockKwargs:
        # The row of the table for each pair of tokens.
        device = (self.tables[0] if self.shared_table is None else self.shared_table).device
        rows = gen_relative_position_index(grid, device=device)[None]  # (1, 1 + N, 1 + N)
        key_mask = None
        if kept is not None:
            rows = rows[0][kept.keep_indices[:, :, None], kept.keep_indices[:, None]]  # (B or 1, M, M)
            key_mask = kept.key_mask

        # The bias, from each block's own table or once for all blocks.
        if self.shared_table is None:
            return lambda index: self._bias_kwargs(self.tables[index], grid, rows, key_mask)
        kwargs = self._bias_kwargs(self.shared_table, grid, rows, key_mask)
        return lambda index: kwargs

    def _bias_kwargs(
        self, table: torch.Tensor, grid: tuple[int, int], rows: torch.Tensor, key_mask: torch.Tensor | None
    ) -> dict[str, Any]:
        bias = self._resize(table, grid)[rows].permute(0, 3, 1, 2)  # (B or 1, heads, M, M)
        if key_mask is not None:
            bias = bias.masked_fill(~key_mask, float("-inf"))
        return {"shared_rel_pos_bias": bias.contiguous()}

    def _resize(self, table: torch.Tensor, grid: Grid) -> torch.Tensor:
        # Do not skip the resize in an export: the branch would fix the grid. Resizing to the same grid is exact.
        if not torch.compiler.is_compiling() and grid == self.grid_size:
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
