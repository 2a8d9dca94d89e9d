"""The plain Vision Transformer that feeds the decoder (SegViT v1, section 3.1), around timm's modules.

Shape shorthand: B images, H x W pixels, h x w grid, N = h*w tokens, T prefix tokens, C width.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from segvit.modeling.encoder.token_embedding import TokenEmbedding
from segvit.modeling.token_reduction.edge_aware_downsampling import EdgeAwareQueryDownsampling
from segvit.modeling.token_reduction.query_downsampling import QueryDownsampling
from segvit.modeling.token_reduction.token_set import KeptTokens, Stage, TokenSet
from segvit.modeling.tokens import tokens_to_map


class PlainViTEncoder(nn.Module):
    """Images to one feature map per chosen block: the raw residual stream that leaves it.

    Args:
        embedding: images to tokens.
        positions: the grid to each block's position arguments (`attention_positions`).
        blocks: timm's pre-norm blocks, the last of them a stage.
        norm: applied to the output of the last block; the official SegViT has none.
        out_indices: 0-based indices of the blocks whose outputs are returned.
        reduction: token reduction inside the encoder (Shrunk, Shrunk++); None keeps all tokens.
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
        reduction: QueryDownsampling | EdgeAwareQueryDownsampling | None = None,
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

    def forward(self, images: torch.Tensor) -> dict[str, Stage]:
        """Encode normalised images of any size.

        Args:
            images: (B, 3, H, W).

        Returns:
            "block<i>" for each i in `out_indices`: a map (B, C, h, w); from the reducing block on, a map of half the
            height and width, rounded up (Shrunk), or the `TokenSet` that was kept (Shrunk++). Shrunk++ adds
            "edge_logits" (B, 2, h, w).
        """
        tokens, grid = self.embedding(images)  # (B, T + N, C)
        arguments_of, kept = self.positions(grid), None
        stages = {}
        for index, block in enumerate(self.blocks):
            if self._reads_edges_at(index):
                stages["edge_logits"] = self.reduction.edge_head(self._patches(tokens), grid)
            if self.reduction is not None and index == self.reduction.block_index:
                kept = self._choose(stages, grid, tokens.device)
                arguments, arguments_of = arguments_of(index), self.positions(grid, kept)
                tokens = self.reduction.sampling(block, tokens, kept, grid, arguments, partial(arguments_of, index))
            else:
                tokens = self._run(block, tokens, arguments_of(index))
            if index == len(self.blocks) - 1:
                tokens = self.norm(tokens)
            if index in self.out_indices:
                stages[f"block{index}"] = self._stage(tokens, grid, kept)
        return stages

    def stage_shapes(self) -> dict[str, tuple[int, int | None]]:
        """Channels and stride in pixels of each stage; None is the stride of a `TokenSet`, which is no map."""
        patch_size, reduction = self.embedding.patch_size[0], self.reduction
        first_reduced = len(self.blocks) if reduction is None else reduction.block_index
        reduced = 2 * patch_size if isinstance(reduction, QueryDownsampling) else None
        return {
            f"block{index}": (self.embed_dim, patch_size if index < first_reduced else reduced)
            for index in self.out_indices
        }

    def _patches(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, self.embedding.num_prefix_tokens :]

    def _reads_edges_at(self, index: int) -> bool:
        reduction = self.reduction
        return isinstance(reduction, EdgeAwareQueryDownsampling) and index == reduction.edge_head.block_index

    def _choose(self, stages: dict[str, Stage], grid: tuple[int, int], device: torch.device) -> KeptTokens:
        if isinstance(self.reduction, EdgeAwareQueryDownsampling):
            return self.reduction(stages["edge_logits"])
        return self.reduction(grid, device=device)

    def _stage(self, tokens: torch.Tensor, grid: tuple[int, int], kept: KeptTokens | None) -> Stage:
        patches, num_prefix_tokens = self._patches(tokens), self.embedding.num_prefix_tokens
        if kept is None:
            return tokens_to_map(patches, grid)
        if kept.grid is not None:
            return tokens_to_map(patches, kept.grid)
        valid = None if kept.valid is None else kept.valid[:, num_prefix_tokens:]
        return TokenSet(patches, kept.positions[:, num_prefix_tokens:] - num_prefix_tokens, valid, grid)

    def _run(self, block: nn.Module, tokens: torch.Tensor, arguments: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.gradient_checkpointing and self.training:
            return checkpoint(block, tokens, use_reentrant=False, **arguments)
        return block(tokens, **arguments)
