"""Tokens that stand for some cells of a grid, where a reduction left no regular map of them.

Shape shorthand: B images, h x w grid, N = h*w cells, T prefix tokens, M kept tokens, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from segvit.modeling.tokens import map_to_tokens


def key_mask_of(valid: torch.Tensor | None) -> torch.Tensor | None:
    """(B, M) bool -> (B, 1, 1, M), as attention takes it: padding is no key."""
    return None if valid is None else valid[:, None, None]


def tokens_at(tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """Of (B, N, C) tokens those at (B or 1, M) positions -> (B, M, C). Unlike `take_along_dim`, it can be exported."""
    return tokens.gather(1, positions[..., None].expand(tokens.shape[0], -1, tokens.shape[2]))


@dataclass(frozen=True)
class KeptTokens:
    """Which tokens of a sequence a reduction keeps.

    Attributes:
        positions: (B, M) or, the same for every image, (1, M) int64 positions among the T + N tokens, ascending
            up to the padding, prefix tokens first.
        valid: (B, M) bool, False where an image has fewer tokens than the batch's largest; None where none has.
        grid: (h', w') of the regular grid that the kept patches form; None where they form none.
    """

    positions: torch.Tensor
    valid: torch.Tensor | None
    grid: tuple[int, int] | None

    def select(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T + N, C) -> (B, M, C)."""
        return tokens_at(tokens, self.positions)

    @property
    def key_mask(self) -> torch.Tensor | None:
        """(B, 1, 1, M) for attention: padding is no key; None where there is none."""
        return key_mask_of(self.valid)


@dataclass(frozen=True)
class TokenSet:
    """Patch tokens at some cells of a grid: what a stage is behind an edge-aware reduction.

    Attributes:
        tokens: (B, M, C).
        cells: (B, M) int64, the row-major cell of each token in the full grid.
        valid: (B, M) bool, False for padding; None where there is none.
        grid: (h, w), the full grid.
    """

    tokens: torch.Tensor
    cells: torch.Tensor
    valid: torch.Tensor | None
    grid: tuple[int, int]

    @property
    def key_mask(self) -> torch.Tensor | None:
        """(B, 1, 1, M) for attention: padding is no key; None where there is none."""
        return key_mask_of(self.valid)


Stage = torch.Tensor | TokenSet


def stage_tokens(stage: Stage) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A (B, C, h, w) map or a `TokenSet` -> (B, M, C) tokens and their key mask."""
    if isinstance(stage, TokenSet):
        return stage.tokens, stage.key_mask
    return map_to_tokens(stage), None
