"""The plain Vision Transformer that feeds the decoder (SegViT v1, section 3.1), around timm's modules.

Shape shorthand: B images, H x W pixels, h x w grid, N = h*w tokens, T prefix tokens, C width.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from segvit.modeling.query_downsampling import QueryDownsampling, run_reducing_block
from segvit.modeling.token_embedding import TokenEmbedding
from segvit.modeling.tokens import tokens_to_map


class PlainViTEncoder(nn.Module):
    """Images to one feature map per chosen block: the raw residual stream that leaves it.

    Args:
        embedding: images to tokens.
        positions: the grid to each block's position arguments (`attention_positions`).
        blocks: timm's pre-norm blocks, the last of them a stage.
        norm: applied to the output of the last block; the official SegViT has none.
        out_indices: 0-based indices of the blocks whose outputs are returned.
        reduction: token reduction inside the encoder (Shrunk); None keeps all tokens.
        gradient_checkpointing: recompute blocks in the backward pass instead of storing them.
    """

    def __init__(
        self,
        *,
        embedding: TokenEmbedding,
        positions: nn.Module,
        blocks: nn.ModuleList,
        norm: nn.Module,
        out_indices: list[int],
        reduction: QueryDownsampling | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = positions
        self.blocks = blocks
        self.norm = norm
        self.embed_dim = embedding.patch_embed.proj.out_channels
        self.out_indices = sorted(out_indices)
        self.reduction = reduction
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Encode normalised images of any size.

        Args:
            images: (B, 3, H, W).

        Returns:
            "block<i>" -> (B, C, h, w) for each i in `out_indices`; h and w are halved, rounded up, from the reducing
            block on.
        """
        tokens, grid = self.embedding(images)  # (B, T + N, C)
        arguments_of, kept = self.positions(grid), None
        stages = {}
        for index, block in enumerate(self.blocks):
            arguments = arguments_of(index) if kept is None else self.positions.keep(arguments_of(index), kept)
            if self.reduction is not None and index == self.reduction.block_index:
                kept, grid = self.reduction(grid, tokens.device)
                tokens = run_reducing_block(block, tokens, kept, arguments)
            else:
                tokens = self._run(block, tokens, arguments)
            if index == len(self.blocks) - 1:
                tokens = self.norm(tokens)
            if index in self.out_indices:
                stages[f"block{index}"] = tokens_to_map(tokens[:, self.embedding.num_prefix_tokens :], grid)
        return stages

    def stage_shapes(self) -> dict[str, tuple[int, int]]:
        """Channels and stride in pixels of each stage."""
        first_reduced = len(self.blocks) if self.reduction is None else self.reduction.block_index
        patch_size = self.embedding.patch_size[0]
        return {
            f"block{index}": (self.embed_dim, patch_size if index < first_reduced else 2 * patch_size)
            for index in self.out_indices
        }

    def _run(self, block: nn.Module, tokens: torch.Tensor, arguments: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.gradient_checkpointing and self.training:
            return checkpoint(block, tokens, use_reentrant=False, **arguments)
        return block(tokens, **arguments)
