"""Edge-aware query-based down-sampling (EQD): keep a coarse grid and the tokens on class boundaries (v2, section 3.4).

Shape shorthand: B images, h x w grid, N = h*w tokens, T prefix tokens, M kept tokens.
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.modeling.token_reduction.edge_head import EdgeHead, edge_scores
from segvit.modeling.token_reduction.query_downsampling import on_coarse_grid
from segvit.modeling.token_reduction.query_sampling import NearestQueries
from segvit.modeling.token_reduction.token_set import KeptTokens


class EdgeAwareQueryDownsampling(nn.Module):
    """Keep every second token of every second row, and the tokens where the edge head sees a boundary.

    Args:
        block_index: 0-based block whose queries are the kept tokens; later blocks see those alone.
        num_prefix_tokens: T.
        edge_head: scores patches; reads them at this block or before.
        selection: "threshold" keeps the tokens above a score (v2): as many as an image needs, padded to the batch's
            largest set; "topk" keeps a fixed share of all tokens by score (ours): static shapes, for compilers, export
            and steady timing.
        threshold: of the edge probability.
        share: of all patch tokens, the coarse grid included; never less than that grid.
    """

    def __init__(
        self,
        *,
        block_index: int,
        num_prefix_tokens: int,
        edge_head: EdgeHead,
        selection: str,
        threshold: float,
        share: float,
    ) -> None:
        super().__init__()
        self.block_index = block_index
        self.num_prefix_tokens = num_prefix_tokens
        self.sampling = NearestQueries()
        self.edge_head = edge_head
        self.selection = selection
        self.threshold = threshold
        self.share = share

    def forward(self, edge_logits: torch.Tensor) -> KeptTokens:
        """Choose by predicted scores, in training as in inference.

        Args:
            edge_logits: (B, 2, h, w).
        """
        grid = (edge_logits.shape[2], edge_logits.shape[3])
        scores = edge_scores(edge_logits.detach()).flatten(1)  # (B, N)
        on_grid = on_coarse_grid(grid, scores.device)
        if self.selection == "topk":
            num_on_grid = ((grid[0] + 1) // 2) * ((grid[1] + 1) // 2)
            # `round` in whole numbers, which exporters follow where the grid is not known beforehand: halves to even.
            millionths = round(1e6 * self.share) * grid[0] * grid[1]
            share = (millionths + 499_999 + millionths // 1_000_000 % 2) // 1_000_000
            count = min(max(share, num_on_grid), grid[0] * grid[1])
            cells, valid = self._top(scores, on_grid, count), None
        else:
            cells, valid = self._above_threshold(scores, on_grid)
        prefix = torch.arange(self.num_prefix_tokens, device=scores.device).expand(scores.shape[0], -1)
        if valid is not None:
            valid = torch.cat([torch.ones_like(prefix, dtype=torch.bool), valid], dim=1)
        return KeptTokens(positions=torch.cat([prefix, cells + self.num_prefix_tokens], dim=1), valid=valid, grid=None)

    def _top(self, scores: torch.Tensor, on_grid: torch.Tensor, count: int) -> torch.Tensor:
        """(B, count) cells, ascending: the grid and the best of the others."""
        cells = scores.masked_fill(on_grid, float("inf")).topk(count, dim=1).indices
        return cells.sort(dim=1).values

    def _above_threshold(self, scores: torch.Tensor, on_grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, M) cells, ascending, then padding; and which are no padding, None where all are not."""
        keeps = (scores > self.threshold) | on_grid  # (B, N)
        counts = keeps.sum(dim=1)
        longest = int(counts.max())
        # A stable sort brings the kept cells to the front in their order; dropped ones behind them pad.
        cells = keeps.int().argsort(dim=1, descending=True, stable=True)[:, :longest]
        if bool((counts == longest).all()):
            return cells, None
        return cells, torch.arange(longest, device=scores.device) < counts[:, None]
