"""`ReductionConfig` and the builder of Shrunk, Shrunk++ and the reductions by cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from segvit.errors import ArgumentError
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.cell_reduction import CellReduction
from segvit.modeling.token_reduction.downsampling import (
    EdgeAwareQueryDownsampling,
    QueryDownsampling,
    TokenReduction,
)
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.global_merging import GlobalMerging
from segvit.modeling.token_reduction.reducing_block import MODES, can_split


@dataclass(frozen=True, kw_only=True)
class ReductionConfig:
    """Where an encoder drops tokens, and which ones.

    Attributes:
        kind: "shrunk" (SegViT v1, section 3.4), "shrunk++" (v2, section 3.4), or "cells" or "merge", see
            `CellReduction`.
        block_index: 0-based index of the reducing block. Shrunk(++): at least 1, and later blocks see the kept tokens
            only; "merge": any, and this block, too, sees them only; "cells": 0.
        mode: Shrunk: how the reducing block runs, see `run_reducing_block`. Others support "nearest_q" only.
        edge_block_index: Shrunk++: the edge head reads the input of this block; 0 for the patch embedding, as in v2.
        selection, threshold, keep_ratio: see `EdgeAwareQueryDownsampling` and `CellReduction`.
        weighs_sizes: see `CellReduction`.
        global_block_indices: "merge": indices of the later blocks before which `GlobalMerging` merges again, in the
            same `selection`; empty for none.
        global_threshold, global_keep_ratio: see `GlobalMerging`.
    """

    kind: str
    block_index: int
    mode: str = "nearest_q"
    edge_block_index: int = 0
    selection: str = "threshold"
    threshold: float = 0.7
    keep_ratio: float = 0.36
    weighs_sizes: bool = False
    global_block_indices: tuple[int, ...] = ()
    global_threshold: float = 0.9
    global_keep_ratio: float = 0.3

    @property
    def has_edge_head(self) -> bool:
        """Whether an edge head chooses."""
        return self.kind in ("shrunk++", "cells")


# Reductions to tokens of cells, which run before the block of `block_index`, not in it.
CELL_KINDS = ("cells", "merge")


def build_reduction(
    config: ReductionConfig | None,
    blocks: Sequence[nn.Module],
    embed_dim: int,
    num_prefix_tokens: int,
    init_std: float,
) -> TokenReduction | CellReduction | None:
    """Build the module that chooses tokens; None for none.

    Args:
        config: the choices.
        blocks: the encoder's blocks.
        embed_dim, num_prefix_tokens: of the encoder.
        init_std: standard deviation of the edge head's Linear layers; 0 for 0.02.

    Raises:
        ArgumentError: if a choice is unknown, out of range, or does not fit the blocks.
    """
    if config is None:
        return None
    check_reduction(config, blocks)
    if config.kind == "shrunk":
        return QueryDownsampling(num_prefix_tokens=num_prefix_tokens, embed_dim=embed_dim, mode=config.mode)
    edge_head = None
    if config.has_edge_head:
        edge_head = EdgeHead(embed_dim=embed_dim)
        initialize_linear_layers(edge_head, init_std or 0.02)
    if edge_head is None or config.kind == "cells":
        return CellReduction(
            num_prefix_tokens=num_prefix_tokens,
            embed_dim=embed_dim,
            edge_head=edge_head,
            selection=config.selection,
            threshold=config.threshold,
            keep_ratio=config.keep_ratio,
            weighs_sizes=config.weighs_sizes,
        )
    return EdgeAwareQueryDownsampling(
        num_prefix_tokens=num_prefix_tokens,
        edge_head=edge_head,
        selection=config.selection,
        threshold=config.threshold,
        keep_ratio=config.keep_ratio,
    )


def build_global_merging(config: ReductionConfig | None) -> GlobalMerging | None:
    """The second merging of a reduction that `build_reduction` accepts; None for none."""
    if config is None or not config.global_block_indices:
        return None
    return GlobalMerging(
        block_indices=config.global_block_indices,
        selection=config.selection,
        threshold=config.global_threshold,
        keep_ratio=config.global_keep_ratio,
    )


def check_reduction(config: ReductionConfig, blocks: Sequence[nn.Module]) -> None:
    """Raise ArgumentError if a choice is unknown, out of range, or does not fit the blocks."""
    if config.kind not in ("shrunk", "shrunk++", *CELL_KINDS):
        raise ArgumentError("kind", f"{config.kind!r} must be 'none', 'shrunk', 'shrunk++', 'cells' or 'merge'")
    if config.mode not in MODES:
        raise ArgumentError("mode", f"{config.mode!r} must be 'nearest_q', 'nearest_qkv' or 'conv_q'")
    if config.kind != "shrunk" and config.mode != "nearest_q":
        raise ArgumentError("mode", f"{config.mode!r} fits `kind` 'shrunk', not {config.kind!r}")
    first = 0 if config.kind in CELL_KINDS else 1
    last = 0 if config.kind == "cells" else len(blocks) - 1
    if not first <= config.block_index <= last:
        raise ArgumentError("block_index", f"{config.block_index} must lie in {first} to {last}")
    if config.mode == "conv_q" and not can_split(blocks[config.block_index]):
        raise ArgumentError(
            "mode", "'conv_q' needs the blocks of timm's VisionTransformer: set 'nearest_q' or 'nearest_qkv'"
        )
    if not 0 <= config.edge_block_index <= config.block_index:
        raise ArgumentError(
            "edge_block_index",
            f"{config.edge_block_index} must lie in 0 to `block_index` {config.block_index}: "
            "edges are detected before tokens are dropped",
        )
    if config.selection not in ("threshold", "topk"):
        raise ArgumentError("selection", f"{config.selection!r} must be 'threshold' or 'topk'")
    for name in ("threshold", "global_threshold"):
        if not 0 <= getattr(config, name) <= 1:
            raise ArgumentError(name, f"{getattr(config, name)} must lie in 0 to 1")
    for name in ("keep_ratio", "global_keep_ratio"):
        if not 0 < getattr(config, name) <= 1:
            raise ArgumentError(name, f"{getattr(config, name)} must be above 0 and at most 1")
    if config.global_block_indices:
        check_global_merging(config, len(blocks))


def check_global_merging(config: ReductionConfig, num_blocks: int) -> None:
    """Raise ArgumentError if a second merging does not fit."""
    indices = list(config.global_block_indices)
    if config.kind != "merge":
        raise ArgumentError("global_block_indices", f"{indices} fits `kind` 'merge', not {config.kind!r}")
    if min(indices) <= config.block_index or max(indices) >= num_blocks:
        raise ArgumentError(
            "global_block_indices",
            f"{indices} must lie in {config.block_index + 1} to {num_blocks - 1}: after the block that merges cells",
        )
    if config.selection == "topk" and config.global_keep_ratio >= config.keep_ratio < 1:
        raise ArgumentError(
            "global_keep_ratio",
            f"{config.global_keep_ratio} must be below `keep_ratio` {config.keep_ratio}: of the tokens that are left "
            "there, none would be merged",
        )
