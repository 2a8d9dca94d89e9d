"""What the attention of a block must be told about positions, by family of encoder.

Each class maps a grid, and the tokens of it that a reduction kept, to a function from a block's index to its keyword
arguments. The function is called when the block's turn comes, so that two blocks' arguments need not coexist.

Shape shorthand: h x w grid, N = h*w tokens, T prefix tokens, M kept tokens (with prefix), d head width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from timm.models.beit import gen_relative_position_index
from torch import nn

from segvit.modeling.token_reduction.token_set import KeptTokens

BlockArguments = dict[str, torch.Tensor]
ArgumentsOfBlock = Callable[[int], BlockArguments]


def mask_argument(kept: KeptTokens | None) -> BlockArguments:
    """What keeps padding from being attended to; nothing where there is none."""
    return {} if kept is None or kept.valid is None else {"attn_mask": kept.key_mask}


class NoAttentionPositions(nn.Module):
    """Positions were added to the tokens (ViT, DeiT, MAE, CLIP, DINO, DINOv2): blocks need to know padding alone."""

    def forward(self, grid: tuple[int, int], kept: KeptTokens | None = None) -> ArgumentsOfBlock:
        arguments = mask_argument(kept)
        return lambda block: arguments


class RotaryPositions(nn.Module):
    """Rotary embedding of patch tokens (EVA-02, DINOv3), computed anew for each grid by timm."""

    def __init__(self, *, rope: nn.Module, num_prefix_tokens: int) -> None:
        super().__init__()
        self.rope = rope
        self.num_prefix_tokens = num_prefix_tokens

    def forward(self, grid: tuple[int, int], kept: KeptTokens | None = None) -> ArgumentsOfBlock:
        rope = self.rope.get_embed(shape=list(grid))  # (N, 2 d): sines and cosines
        if kept is not None:
            patches = kept.positions[:, self.num_prefix_tokens :] - self.num_prefix_tokens
            rope = rope[patches][:, None]  # (B or 1, 1, M, 2 d)
        arguments = {"rope": rope, **mask_argument(kept)}
        return lambda block: arguments


class RelativePositions(nn.Module):
    """Learned bias per pair of relative positions (BEiT, BEiTv2), one table per block or one for all.

    timm binds each table to one grid; here the tables live apart from the blocks and are resized to the grid at hand.

    Args:
        tables: one per block, or a single one shared by all; (2h - 1) * (2w - 1) rows and 3 for the class token.
        grid_size: (h, w) that the tables were made for.
    """

    def __init__(self, *, tables: list[nn.Parameter], grid_size: tuple[int, int]) -> None:
        super().__init__()
        self.tables = nn.ParameterList(tables if len(tables) > 1 else [])
        self.shared_table = tables[0] if len(tables) == 1 else None
        self.grid_size = grid_size

    def forward(self, grid: tuple[int, int], kept: KeptTokens | None = None) -> ArgumentsOfBlock:
        device = (self.tables[0] if self.shared_table is None else self.shared_table).device
        index = gen_relative_position_index(grid, device=device)[None]  # (1, 1 + N, 1 + N) rows of a table
        if kept is not None:
            index = index[0][kept.positions[:, :, None], kept.positions[:, None]]  # (B or 1, M, M)
        key_mask = None if kept is None else kept.key_mask
        if self.shared_table is None:
            return lambda block: self._bias(self.tables[block], grid, index, key_mask)
        shared = self._bias(self.shared_table, grid, index, key_mask)
        return lambda block: shared

    def _bias(
        self, table: torch.Tensor, grid: tuple[int, int], index: torch.Tensor, key_mask: torch.Tensor | None
    ) -> BlockArguments:
        bias = self._resized(table, grid)[index].permute(0, 3, 1, 2)  # (B or 1, heads, M, M)
        if key_mask is not None:
            bias = bias.masked_fill(~key_mask, float("-inf"))
        return {"shared_rel_pos_bias": bias.contiguous()}

    def _resized(self, table: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
        """The rows of patch pairs interpolated bicubically to another grid; those of the class token stay."""
        # No export must be bound to the grid that it happens to see; resizing to the same grid changes nothing.
        if not torch.compiler.is_compiling() and grid == self.grid_size:
            return table
        (rows, columns), (new_rows, new_columns) = (tuple(2 * n - 1 for n in size) for size in (self.grid_size, grid))
        pairs = table[:-3].unflatten(0, (rows, columns)).permute(2, 0, 1)[None]
        pairs = F.interpolate(pairs, size=(new_rows, new_columns), mode="bicubic", align_corners=False)
        return torch.cat([pairs[0].permute(1, 2, 0).flatten(0, 1), table[-3:]])
