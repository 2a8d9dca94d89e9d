"""`KeptTokens`: the result of a token reduction. `TokenSet`: an encoder stage whose tokens form no regular map.

Shape shorthand: B images, h x w grid, N = h*w patch tokens, T prefix tokens, M kept tokens, C channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from segvit.modeling.tokens import map_to_tokens


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


# One output of an encoder: a map (B, C, h, w), or the tokens that edge-aware downsampling kept.
Stage = torch.Tensor | TokenSet


def stage_tokens(stage: Stage) -> tuple[torch.Tensor, torch.Tensor | None]:
    """A stage as tokens (B, M, C) and their attention mask (B, 1, 1, M), None if nothing is padded."""
    if isinstance(stage, TokenSet):
        return stage.tokens, stage.key_mask
    return map_to_tokens(stage), None


def stage_of_dtype(stage: Stage, dtype: torch.dtype) -> Stage:
    """The stage with its tokens in a floating-point type."""
    return replace(stage, tokens=stage.tokens.to(dtype)) if isinstance(stage, TokenSet) else stage.to(dtype)


def stage_grid(stage: Stage) -> tuple[int, int]:
    """(h, w) of a map, or of the full grid of a `TokenSet`."""
    return stage.grid if isinstance(stage, TokenSet) else (stage.shape[-2], stage.shape[-1])


def gather_tokens(tokens: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B, N, C) tokens at indices (B or 1, M) -> (B, M, C). Unlike `take_along_dim`, it can be exported to ONNX."""
    return tokens.gather(1, indices[..., None].expand(tokens.shape[0], -1, tokens.shape[2]))
