"""`StageAdapter`: transformer blocks of a later group of classes on a stage of the frozen encoder (ours).

The frozen encoder was not trained for the new classes, and an adapter inside of it would need a second pass. These
blocks come after it and are narrow: they cost little, and no earlier group reads them.

Shape shorthand: B images, h x w grid, M tokens of a stage, C encoder width, A adapter width.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from timm.models.vision_transformer import Block
from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.token_set import CellMap, Stage, TokenSet
from segvit.modeling.tokens import map_to_tokens, tokens_to_map


class StageAdapter(nn.Module):
    """Project tokens to a small width, run pre-norm blocks on them, and add the result, projected back.

    The projection back starts at zero, so that a group begins with the stage as it is.

    Args:
        in_dim: C.
        dim: A.
        num_blocks: of self-attention and MLP each.
        head_dim: width of an attention head.
        dropout: rate of every dropout in training.
        init_std: standard deviation of the truncated-normal Linear init.

    Raises:
        ArgumentError: for a width that no whole number of heads fills.
    """

    def __init__(
        self, *, in_dim: int, dim: int, num_blocks: int, head_dim: int, dropout: float = 0.0, init_std: float = 0.02
    ) -> None:
        super().__init__()
        if dim % head_dim:
            raise ArgumentError("dim", f"{dim} must be a multiple of {head_dim}, the width of a head")
        self.input_norm = nn.LayerNorm(in_dim)
        self.down = nn.Linear(in_dim, dim)
        self.blocks = nn.ModuleList(
            Block(dim, dim // head_dim, qkv_bias=True, attn_drop=dropout, proj_drop=dropout) for _ in range(num_blocks)
        )
        self.output_norm = nn.LayerNorm(dim)
        self.up = nn.Linear(dim, in_dim)
        initialize_linear_layers(self, init_std)
        nn.init.zeros_(self.up.weight)

    def forward(self, stage: Stage) -> Stage:
        """A map (B, C, h, w), `CellMap` or `TokenSet` -> the same kind with other tokens."""
        if isinstance(stage, torch.Tensor):
            tokens = self._adapted(map_to_tokens(stage), None)
            return tokens_to_map(tokens, (stage.shape[-2], stage.shape[-1]))
        return replace(stage, tokens=self._adapted(stage.tokens, _attention_mask(stage)))

    def _adapted(self, tokens: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """(B, M, C) tokens, (B, 1, 1, M) mask or None -> (B, M, C)."""
        update = self.down(self.input_norm(tokens))
        for block in self.blocks:
            update = block(update, attn_mask=mask)
        return tokens + self.up(self.output_norm(update))


def _attention_mask(stage: CellMap | TokenSet) -> torch.Tensor | None:
    """(B, 1, 1, M) for the tokens of a reduced stage, without prefix tokens; None if nothing is padded."""
    if isinstance(stage, TokenSet):
        return stage.key_mask
    mask = stage.cells.key_mask
    return None if mask is None else mask[..., stage.cells.num_prefix_tokens :]
