"""`PlainViTEncoder`: the Vision Transformer that feeds the decoder (SegViT v1, section 3.1), made of timm's modules.

Shape shorthand: B images, H x W pixels, h x w grid, N = h*w patch tokens, T prefix tokens, C width.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from segvit.modeling.encoder.attention_positions import BlockKwargs, Kept
from segvit.modeling.encoder.stage_shape import StageShape, map_shape
from segvit.modeling.encoder.token_embedding import TokenEmbedding
from segvit.modeling.token_reduction.cell_reduction import CellReduction
from segvit.modeling.token_reduction.cell_tokens import CellTokens
from segvit.modeling.token_reduction.downsampling import TokenReduction
from segvit.modeling.token_reduction.global_merging import GlobalMerging
from segvit.modeling.token_reduction.reducing_block import run_reducing_block
from segvit.modeling.token_reduction.token_set import CellMap, Stage, TokenSet
from segvit.modeling.tokens import tokens_to_map


class PlainViTEncoder(nn.Module):
    """Images to one feature map per chosen block: the block's output, without a norm.

    Args:
        embedding: images to tokens.
        positions: a module of `attention_positions`, which gives each block its position arguments.
        blocks: timm's pre-norm blocks; the last one is in `out_indices`.
        norm: applied to the output of the last block; Identity in the official SegViT.
        out_indices: 0-based indices of the blocks whose outputs are returned.
        reduction: chooses the tokens to keep (Shrunk, Shrunk++, cells); None keeps all tokens.
        reduction_block_index: index of the block that returns the kept tokens only; that takes them, for cells.
        edge_block_index: index of the block whose input the edge head reads.
        global_merging: merges tokens again, after a reduction to cells; None for none.
        gradient_checkpointing: recompute blocks in the backward pass instead of storing their activations.
    """

    def __init__(
        self,
        *,
        embedding: TokenEmbedding,
        positions: nn.Module,
        blocks: nn.ModuleList,
        norm: nn.Module,
        out_indices: list[int],
        reduction: TokenReduction | CellReduction | None = None,
        reduction_block_index: int | None = None,
        edge_block_index: int | None = None,
        global_merging: GlobalMerging | None = None,
        gradient_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = embedding
        self.positions = positions
        self.blocks = blocks
        self.norm = norm
        self.embed_dim = embedding.embed_dim
        self.out_indices = sorted(out_indices)
        self.reduction = reduction
        self.reduction_block_index = reduction_block_index
        self.edge_block_index = edge_block_index
        self.global_merging = global_merging
        self.gradient_checkpointing = gradient_checkpointing

    def forward(self, images: torch.Tensor) -> dict[str, Stage]:
        """Encode normalized images of any size.

        Args:
            images: (B, I, H, W), of I channels.

        Returns:
            "block<i>" for each i in `out_indices`: a map (B, C, h, w). From the reducing block on: a map of half the
            height and width, rounded up (Shrunk), or a `TokenSet` (Shrunk++); of cells, a `CellMap`. An edge head adds
            "edge_logits" (B, 2, h, w); a `pixel_stage` of the embedding its maps, of images padded to whole patches.
        """
        # Images to tokens (B, T + N, C).
        tokens, grid, pixels = self.embedding(images)
        edge_head = None if self.reduction is None else self.reduction.edge_head
        edge_logits: torch.Tensor | None = None
        kept: Kept | None = None
        block_kwargs: BlockKwargs | None = None
        stages: dict[str, Stage] = {**pixels}

        for index, block in enumerate(self.blocks):
            # Predict class boundaries from the tokens that enter this block.
            if edge_head is not None and index == self.edge_block_index:
                edge_logits = edge_head(self._patch_tokens(tokens), grid)
                stages["edge_logits"] = edge_logits

            # Cells: one token in place of the four of some cells, from here on.
            if index == self.reduction_block_index and isinstance(self.reduction, CellReduction):
                tokens, kept = self.reduction(tokens, grid, edge_logits)
                block_kwargs = None

            # Similar tokens anywhere in the image become one, from here on.
            if self.global_merging is not None and index in self.global_merging.block_indices:
                tokens, kept = self.global_merging(tokens, cast(CellTokens, kept))
                block_kwargs = None

            # The position arguments of the blocks.
            if block_kwargs is None:
                block_kwargs = self.positions(grid, kept)
            if index == self.reduction_block_index and not isinstance(kept, CellTokens):
                tokens, kept, block_kwargs = self._run_reducing_block(tokens, grid, edge_logits, block_kwargs(index))
            elif self.gradient_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False, **block_kwargs(index))
            else:
                tokens = block(tokens, **block_kwargs(index))

            # The outputs of the chosen blocks are the stages; the last one passes through the final norm, if any.
            if index == len(self.blocks) - 1:
                tokens = self.norm(tokens)
            if index in self.out_indices:
                stages[f"block{index}"] = self._stage(tokens, grid, kept)
        return stages

    def _run_reducing_block(
        self,
        tokens: torch.Tensor,
        grid: tuple[int, int],
        edge_logits: torch.Tensor | None,
        block_kwargs: dict[str, Any],
    ) -> tuple[torch.Tensor, Kept, BlockKwargs]:
        """Shrunk(++): the block reads all tokens and returns those that are kept; later blocks see only these."""
        reduction, index = cast(TokenReduction, self.reduction), cast(int, self.reduction_block_index)
        kept = reduction(grid, edge_logits, device=tokens.device)
        kept_block_kwargs = self.positions(grid, kept)
        tokens = run_reducing_block(
            self.blocks[index],
            tokens,
            kept,
            grid,
            mode=reduction.mode,
            block_kwargs=block_kwargs,
            kept_block_kwargs=kept_block_kwargs(index),
            query_conv=reduction.query_conv,
        )
        return tokens, kept, kept_block_kwargs

    def stage_shapes(self) -> dict[str, StageShape]:
        """The shape of each stage for images of the embedding's `img_size`."""
        img_size, stride = self.embedding.img_size, self.embedding.patch_size[0]
        shapes = {name: map_shape(*shape, img_size) for name, shape in self.embedding.pixel_shapes.items()}
        for index in self.out_indices:
            if self.reduction is None or index < cast(int, self.reduction_block_index):
                shape = map_shape(self.embed_dim, stride, img_size)
            elif isinstance(self.reduction, CellReduction):
                shape = map_shape(self.embed_dim, stride, img_size, is_cell_map=True)
            elif self.reduction.keeps_grid:
                shape = map_shape(self.embed_dim, 2 * stride, img_size)
            else:
                shape = StageShape(self.embed_dim)
            shapes[f"block{index}"] = shape
        return shapes

    def _patch_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """(B, T + N, C) -> (B, N, C)."""
        return tokens[:, self.embedding.num_prefix_tokens :]

    def _stage(self, tokens: torch.Tensor, grid: tuple[int, int], kept: Kept | None) -> Stage:
        """The patch tokens as a map, or as a `TokenSet` if the kept ones form no grid."""
        patches = self._patch_tokens(tokens)
        if kept is None:
            return tokens_to_map(patches, grid)
        if isinstance(kept, CellTokens):
            return CellMap(patches, kept)
        if kept.grid is not None:
            return tokens_to_map(patches, kept.grid)
        num_prefix_tokens = self.embedding.num_prefix_tokens
        indices = kept.keep_indices[:, num_prefix_tokens:] - num_prefix_tokens
        valid = None if kept.valid is None else kept.valid[:, num_prefix_tokens:]
        return TokenSet(patches, indices, valid, grid)
