"""`GlobalMerging`: similar tokens anywhere in the image become one, in a trained model, without training.

The second step of ALGM (Norouzi et al. 2024, arXiv 2406.09936, section 3), in later blocks, after the tokens of similar
cells were merged. Half of the tokens, every second one, look for the most similar token of the other half, and the most
similar of these pairs become one token. Ours: that token is the mean of all patches that share it, and it keeps the
position of its destination, the token that was found, for rotary and relative positions.

Shape shorthand: B images, N patches, T prefix tokens, M tokens that enter and M' that leave (without prefix), C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from segvit.modeling.token_reduction.cell_tokens import CellTokens
from segvit.modeling.token_reduction.downsampling import after_prefix, chosen_indices, descending_ranks, rounded_share


class GlobalMerging(nn.Module):
    """Merges tokens into their most similar partners, before some blocks.

    Args:
        block_indices: 0-based indices of these blocks.
        selection: "threshold": pairs with a cosine above `threshold`; a batch is padded to its image with the most
            tokens. "topk": the same number of tokens in every image.
        threshold: see `selection`.
        keep_ratio: for "topk": number of tokens that stay / N; at least half of those that enter each block.
    """

    def __init__(self, *, block_indices: Sequence[int], selection: str, threshold: float, keep_ratio: float) -> None:
        super().__init__()
        self.block_indices = tuple(block_indices)
        self.selection = selection
        self.threshold = threshold
        self.keep_ratio = keep_ratio

    def forward(self, tokens: torch.Tensor, kept: CellTokens) -> tuple[torch.Tensor, CellTokens]:
        """Tokens (B, T + M, C), and which they are -> fewer tokens (B, T + M', C), and which."""
        prefix, merging = tokens[:, : kept.num_prefix_tokens], tokens[:, kept.num_prefix_tokens :]
        sizes = kept.sizes[:, kept.num_prefix_tokens :]  # (B, M), 0 for padding
        is_valid = None if kept.valid is None else sizes > 0

        # Which tokens stay, and which of these the others are merged into.
        similarities, partners = most_similar(merging, is_valid)
        is_kept, num_kept = self._choose(similarities, is_valid, rounded_share(kept.grid, self.keep_ratio))
        indices, valid = chosen_indices(is_kept, num_kept)
        own = torch.arange(sizes.shape[1], device=tokens.device)
        merged_into = (is_kept.long().cumsum(1) - 1).gather(1, torch.where(is_kept, own, partners))  # (B, M)

        # The mean of all patches that share a token; padding stays as it is.
        merged_sizes = torch.zeros_like(indices, dtype=sizes.dtype).scatter_add(1, merged_into, sizes)
        weights = (sizes / merged_sizes.gather(1, merged_into).clamp(min=1)).to(tokens.dtype)[..., None]
        targets = merged_into[..., None].expand(-1, -1, tokens.shape[2])
        merged = tokens.new_zeros(*indices.shape, tokens.shape[2]).scatter_add(1, targets, weights * merging)

        # The prefix tokens come first.
        stay, valid = after_prefix(indices, valid, kept.num_prefix_tokens)
        kept = replace(
            kept,
            keep_indices=kept.keep_indices.gather(1, stay),
            valid=valid,
            merged_into=merged_into.gather(1, kept.token_of_patch),
        )
        return torch.cat([prefix, merged], dim=1), kept

    def _choose(
        self, similarities: torch.Tensor, is_valid: torch.Tensor | None, num_kept: int
    ) -> tuple[torch.Tensor, int | None]:
        """Which of M tokens stay, (B, M) bool, and how many, if they are as many in every image."""
        if self.selection == "threshold":
            is_kept = similarities <= self.threshold
            return is_kept if is_valid is None else is_kept & is_valid, None
        num_tokens = similarities.shape[1]
        num_merged = min(max(num_tokens - num_kept, 0), num_tokens // 2)
        return descending_ranks(similarities) >= num_merged, num_tokens - num_merged


def most_similar(tokens: torch.Tensor, is_valid: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """For every second token, the most similar one of the others, by the cosine in float32.

    Args:
        tokens: (B, M, C).
        is_valid: (B, M), False for padding; None if nothing is padded.

    Returns:
        (B, M) cosines, minus infinity for tokens that are no source; (B, M) indices of their destinations.
    """
    directions = F.normalize(tokens.detach().float(), dim=2)
    # By indices: of slices with a step, an exporter would compare the sizes.
    num_tokens = tokens.shape[1]
    destinations = 2 * torch.arange((num_tokens + 1) // 2, device=tokens.device)
    sources = 2 * torch.arange(num_tokens // 2, device=tokens.device) + 1
    with torch.autocast(tokens.device.type, enabled=False):
        cosines = directions.index_select(1, sources) @ directions.index_select(1, destinations).transpose(1, 2)
    if is_valid is not None:
        cosines = cosines.masked_fill(~is_valid.index_select(1, destinations)[:, None], float("-inf"))
    best, partners = cosines.max(dim=2)
    if is_valid is not None:
        best = best.masked_fill(~is_valid.index_select(1, sources), float("-inf"))

    # Back to all M tokens.
    sources = sources.expand(tokens.shape[0], -1)
    similarities = torch.full(tokens.shape[:2], float("-inf"), device=tokens.device).scatter(1, sources, best)
    indices = torch.zeros(tokens.shape[:2], dtype=torch.int64, device=tokens.device).scatter(1, sources, 2 * partners)
    return similarities, indices
