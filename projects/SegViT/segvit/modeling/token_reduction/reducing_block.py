"""`run_reducing_block`: a transformer block reads all tokens and returns the kept ones (SegViT v1, section 3.4).

Shape shorthand: B images, h x w grid, N = h*w patch tokens, T prefix tokens, M kept tokens, C width, d head width.
"""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import nn

from segvit.modeling.token_reduction.token_set import KeptTokens
from segvit.modeling.tokens import map_to_tokens, tokens_to_map

# Where the queries of the reducing block come from; v1 compares the three (ablation of query-based downsampling).
MODES = ("nearest_q", "nearest_qkv", "conv_q")


def run_reducing_block(
    block: nn.Module,
    tokens: torch.Tensor,
    kept: KeptTokens,
    grid: tuple[int, int],
    *,
    mode: str,
    block_kwargs: dict[str, Any],
    kept_block_kwargs: dict[str, Any],
    query_conv: nn.Module | None = None,
) -> torch.Tensor:
    """Run a block of timm on all tokens and return its output at the kept tokens.

    Args:
        block: the block.
        tokens: (B, T + N, C).
        kept: which M of them to return.
        grid: (h, w) of the N patch tokens.
        mode: "nearest_q": kept tokens are the queries, all tokens are keys and values (the paper's choice).
            "nearest_qkv": the other tokens are dropped before the block.
            "conv_q": like "nearest_q", with the queries of patch tokens from `query_conv`.
        block_kwargs: positions of all tokens, as `attention_positions` gives them.
        kept_block_kwargs: positions of the kept tokens.
        query_conv: for "conv_q", a convolution of stride 2, (B, C, h, w) -> (B, C, h', w').

    Returns:
        (B, M, C)
    """
    if mode == "nearest_qkv":
        return block(kept.select(tokens), **kept_block_kwargs)

    # A block with rotary or relative positions, or other norms, is run whole: the same numbers, more work.
    if not can_split(block):
        return kept.select(block(tokens, **block_kwargs))

    # Queries: the kept tokens, or a strided convolution of the map; prefix tokens are their own queries.
    normed = block.norm1(tokens)
    queries = kept.select(normed)
    if query_conv is not None:
        num_prefix_tokens = tokens.shape[1] - grid[0] * grid[1]
        convolved = query_conv(tokens_to_map(normed[:, num_prefix_tokens:], grid))
        queries = torch.cat([normed[:, :num_prefix_tokens], map_to_tokens(convolved)], dim=1)

    # The rest of timm's pre-norm block, on the residual stream of the kept tokens.
    attention = cast(Attention, block.attn)
    x = kept.select(tokens)
    x = x + block.drop_path1(block.ls1(cross_attention(attention, queries, normed)))
    return x + block.drop_path2(block.ls2(block.mlp(block.norm2(x))))


def can_split(block: nn.Module) -> TypeGuard[Block]:
    """Whether queries can differ from keys: timm's pre-norm `Block` with an attention that `cross_attention` knows."""
    return type(block) is Block and type(block.attn) is Attention and block.attn.gate is None


def cross_attention(
    attention: Attention, queries: torch.Tensor, tokens: torch.Tensor, key_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend from queries to tokens with the weights of a self-attention layer, whose `qkv` stacks q, k and v.

    Args:
        queries: (B, M, C). With `queries = tokens` this is the layer itself.
        tokens: (B, N, C).
        key_mask: (B, 1, 1, N) bool, False for tokens that are ignored.

    Returns:
        (B, M, C)
    """
    # Project with the rows of the stacked weight: first q, then k and v.
    width, num_heads = attention.attn_dim, attention.num_heads
    weight, bias = attention.qkv.weight, attention.qkv.bias
    q_bias, kv_bias = (None, None) if bias is None else (bias[:width], bias[width:])
    q = F.linear(queries, weight[:width], q_bias).unflatten(2, (num_heads, -1)).transpose(1, 2)  # (B, heads, M, d)
    kv = F.linear(tokens, weight[width:], kv_bias).unflatten(2, (2, num_heads, -1))
    k, v = kv.permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
    q, k = attention.q_norm(q), attention.k_norm(k)

    if attention.fused_attn:
        dropout = attention.attn_drop.p if attention.training else 0.0
        update = F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask, dropout_p=dropout)
    else:
        similarities = (q * attention.scale) @ k.transpose(-2, -1)
        if key_mask is not None:
            similarities = similarities.masked_fill(~key_mask, float("-inf"))
        update = attention.attn_drop(similarities.softmax(dim=-1)) @ v

    # Join the heads and project back.
    return attention.proj_drop(attention.proj(attention.norm(update.transpose(1, 2).flatten(2))))
