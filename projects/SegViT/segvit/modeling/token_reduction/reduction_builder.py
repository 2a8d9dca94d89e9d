"""What a user chooses of token reduction, and the module that it calls for."""

from __future__ import annotations

from dataclasses import dataclass

from segvit.errors import UserError
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.edge_aware_downsampling import EdgeAwareQueryDownsampling
from segvit.modeling.token_reduction.edge_head import EdgeHead
from segvit.modeling.token_reduction.query_downsampling import QueryDownsampling
from segvit.modeling.token_reduction.query_sampling import (
    ConvolvedQueries,
    NearestQueries,
    NearestTokens,
    QuerySampling,
)


@dataclass(frozen=True, kw_only=True)
class TokenReduction:
    """Where an encoder drops tokens, and which.

    Attributes:
        kind: "shrunk" (v1, section 3.4) or "shrunk++" (v2, section 3.4).
        block_index: 0-based reducing block; at least 1.
        sampling: Shrunk: "nearest_q", "nearest_qkv" or "conv_q"; see `query_sampling`. Shrunk++ knows the first alone.
        edge_block_index: Shrunk++: the edge head reads the tokens that enter this block; 0 for the embedded patches.
        selection, threshold, share: Shrunk++: see `EdgeAwareQueryDownsampling`.
    """

    kind: str
    block_index: int
    sampling: str = "nearest_q"
    edge_block_index: int = 0
    selection: str = "threshold"
    threshold: float = 0.7
    share: float = 0.36


def build_reduction(
    reduction: TokenReduction | None, *, depth: int, embed_dim: int, num_prefix_tokens: int, init_std: float
) -> QueryDownsampling | EdgeAwareQueryDownsampling | None:
    """Build the module that reduces tokens, None for none.

    Args:
        reduction: the choice.
        depth, embed_dim, num_prefix_tokens: of the encoder.
        init_std: standard deviation of the edge head's Linear layers; 0 for 0.02.

    Raises:
        UserError: where a choice is unknown or lies out of range, naming its key.
    """
    if reduction is None:
        return None
    check_reduction(reduction, depth)
    common = {"block_index": reduction.block_index, "num_prefix_tokens": num_prefix_tokens}
    if reduction.kind == "shrunk":
        return QueryDownsampling(sampling=build_sampling(reduction.sampling, embed_dim), **common)
    edge_head = EdgeHead(block_index=reduction.edge_block_index, embed_dim=embed_dim)
    initialize_linear_layers(edge_head, init_std or 0.02)
    return EdgeAwareQueryDownsampling(
        edge_head=edge_head,
        selection=reduction.selection,
        threshold=reduction.threshold,
        share=reduction.share,
        **common,
    )


def build_sampling(kind: str, embed_dim: int) -> QuerySampling:
    """How the reducing block of Shrunk runs. Raises UserError for an unknown kind, naming its key."""
    if kind == "nearest_q":
        return NearestQueries()
    if kind == "nearest_qkv":
        return NearestTokens()
    if kind == "conv_q":
        return ConvolvedQueries(embed_dim=embed_dim)
    raise UserError(f"MODEL.VIT.REDUCTION_SAMPLING {kind!r} must be 'nearest_q', 'nearest_qkv' or 'conv_q'")


def check_reduction(reduction: TokenReduction, depth: int) -> None:
    """Raise UserError where a choice does not fit an encoder of `depth` blocks, naming its key."""
    if reduction.kind not in ("shrunk", "shrunk++"):
        raise UserError(f"MODEL.VIT.REDUCTION {reduction.kind!r} must be 'none', 'shrunk' or 'shrunk++'")
    if reduction.kind == "shrunk++" and reduction.sampling != "nearest_q":
        raise UserError(
            f"MODEL.VIT.REDUCTION_SAMPLING {reduction.sampling!r} fits MODEL.VIT.REDUCTION 'shrunk', not 'shrunk++'"
        )
    if not 0 < reduction.block_index < depth:
        raise UserError(f"MODEL.VIT.REDUCTION_BLOCK {reduction.block_index} must lie in 1 to {depth - 1}")
    if not 0 <= reduction.edge_block_index <= reduction.block_index:
        raise UserError(
            f"MODEL.VIT.EDGE.BLOCK {reduction.edge_block_index} must lie in 0 to MODEL.VIT.REDUCTION_BLOCK "
            f"{reduction.block_index}: edges are detected before tokens are dropped"
        )
    if reduction.selection not in ("threshold", "topk"):
        raise UserError(f"MODEL.VIT.EDGE.SELECTION {reduction.selection!r} must be 'threshold' or 'topk'")
    if not 0 <= reduction.threshold <= 1:
        raise UserError(f"MODEL.VIT.EDGE.THRESHOLD {reduction.threshold} must lie in 0 to 1: it bounds a probability")
    if not 0 < reduction.share <= 1:
        raise UserError(f"MODEL.VIT.EDGE.SHARE {reduction.share} must lie in 0 to 1: a share of the tokens")
