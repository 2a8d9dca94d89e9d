"""`CellReduction`: one token in place of the four of a cell of 2 x 2 patches, where the image allows it.

Two choices of the cells that stay fine. "cells": those on class boundaries, which an edge head finds on the embedded
patches, before the first block. APT (Choudhury et al. 2025, arXiv 2510.18091) has tokens of several patch sizes at this
place, too, and chooses by entropy. "merge": those whose tokens differ, in a trained model, without training; merging of
similar tokens within windows is the first step of ALGM (Norouzi et al. 2024, arXiv 2406.09936).

Shape shorthand: B images, h x w grid, N = h*w patches, Q = (h // 2) * (w // 2) cells, T prefix tokens, M kept tokens
(with prefix), C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.grid_tensors import Grid
from segvit.modeling.token_reduction.cell_tokens import CellTokens, are_kept_patches, corner_indices, corners
from segvit.modeling.token_reduction.downsampling import after_prefix, chosen_indices, descending_ranks, rounded_share
from segvit.modeling.token_reduction.edge_head import EdgeHead, edge_scores


class CellReduction(nn.Module):
    """Replaces the patches of some cells by their mean, before a block; later blocks see fewer tokens.

    Args:
        num_prefix_tokens: T; prefix tokens are always kept.
        embed_dim: C.
        edge_head: scores patches, and a cell is fine if one of its patches is on an edge; None: a cell is fine if its
            tokens are not similar (mean cosine of the pairs). With an edge head, a learned map of the four tokens is
            added to their mean; it starts at zero, as in APT.
        selection: "threshold": cells whose edge probability is above `threshold`, or whose similarity is not; a batch
            is padded to its image with the most tokens. "topk": the same number of tokens in every image.
        threshold: see `selection`.
        keep_ratio: for "topk": number of tokens / N, at least one per cell.
        weighs_sizes: attention counts the token of a cell as its four patches (a bias of log 4).
    """

    def __init__(
        self,
        *,
        num_prefix_tokens: int,
        embed_dim: int,
        edge_head: EdgeHead | None,
        selection: str,
        threshold: float,
        keep_ratio: float,
        weighs_sizes: bool,
    ) -> None:
        super().__init__()
        self.num_prefix_tokens = num_prefix_tokens
        self.edge_head = edge_head
        self.selection = selection
        self.threshold = threshold
        self.keep_ratio = keep_ratio
        self.weighs_sizes = weighs_sizes
        self.residual: nn.Linear | None = None
        if edge_head is not None:
            self.residual = nn.Linear(4 * embed_dim, embed_dim)
            nn.init.zeros_(self.residual.weight)
            nn.init.zeros_(self.residual.bias)

    def forward(
        self, tokens: torch.Tensor, grid: Grid, edge_logits: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, CellTokens]:
        """Tokens (B, T + N, C) on a grid (h, w), edge logits (B, 2, h, w) -> kept tokens (B, M, C) and which."""
        patches = tokens[:, self.num_prefix_tokens :]
        cell_corners = corner_indices(grid, tokens.device)

        # Which cells keep their four patches.
        if edge_logits is None:
            scores, threshold = -cell_similarities(patches, cell_corners), -self.threshold
        else:
            scores = corners(edge_scores(edge_logits.detach()).flatten(1), cell_corners).amax(1)
            threshold = self.threshold
        kept = self._choose(scores, threshold, cell_corners, grid, tokens.dtype if self.weighs_sizes else None)

        # The token of a cell: the mean of its patches, and what is learnt about their differences.
        of_cells = corners(patches, cell_corners)  # (B, 4, Q, C)
        cells = of_cells.mean(1)
        if self.residual is not None:
            cells = cells + self.residual(of_cells.transpose(1, 2).flatten(2))
        return kept.select(torch.cat([tokens, cells], dim=1)), kept

    def _choose(
        self,
        scores: torch.Tensor,
        threshold: float,
        cell_corners: torch.Tensor,
        grid: Grid,
        size_dtype: torch.dtype | None,
    ) -> CellTokens:
        """The tokens for scores (B, Q) of cells: those with high scores are fine."""
        if self.selection == "topk":
            num_fine = num_fine_cells(grid, self.keep_ratio)
            is_fine = descending_ranks(scores) < num_fine
            num_kept = grid[0] * grid[1] - 3 * (grid[0] // 2 * (grid[1] // 2) - num_fine)
        else:
            is_fine, num_kept = scores > threshold, None

        # Patches of fine cells and those in no cell, then the other cells; the prefix tokens first.
        is_kept = torch.cat([are_kept_patches(is_fine, cell_corners, grid), ~is_fine], dim=1)
        keep_indices, valid = after_prefix(*chosen_indices(is_kept, num_kept), self.num_prefix_tokens)
        return CellTokens(
            keep_indices=keep_indices,
            valid=valid,
            is_fine=is_fine,
            corners=cell_corners,
            grid=grid,
            num_prefix_tokens=self.num_prefix_tokens,
            size_dtype=size_dtype,
        )


def cell_similarities(patches: torch.Tensor, cell_corners: torch.Tensor) -> torch.Tensor:
    """(B, N, C) tokens -> (B, Q): the mean cosine of the six pairs in each cell, in float32."""
    summed = corners(F.normalize(patches.detach().float(), dim=2), cell_corners).sum(1)
    # The square of a sum of four unit vectors holds four squares, 1 each, and twelve products.
    return (summed.square().sum(2) - 4) / 12


def num_fine_cells(grid: Grid, keep_ratio: float) -> int:
    """How many cells are fine so that about `round(keep_ratio * N)` tokens remain; each adds three to one per cell."""
    num_patches, num_cells = grid[0] * grid[1], grid[0] // 2 * (grid[1] // 2)
    added = rounded_share(grid, keep_ratio) - (num_patches - 3 * num_cells)
    return min(max((added + 1) // 3, 0), num_cells)
