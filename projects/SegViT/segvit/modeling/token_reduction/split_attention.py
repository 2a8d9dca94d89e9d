"""Run an attention layer of timm with queries and keys from different tokens.

Shape shorthand: B images, M queries, N tokens, C width, d head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block
from torch import nn

from segvit.modeling.token_reduction.token_set import KeptTokens


def can_split(block: nn.Module) -> bool:
    """Whether a block is timm's pre-norm one and `attend` knows its attention, whose projection stacks q, k and v."""
    return type(block) is Block and type(block.attn) is Attention and block.attn.gate is None


def attend(
    attention: Attention, queries: torch.Tensor, tokens: torch.Tensor, key_mask: torch.Tensor | None = None
) -> torch.Tensor:
    """Attend from queries (B, M, C) to tokens (B, N, C) with the layer's own weights -> (B, M, C).

    With the tokens as their own queries this is the layer itself. Keys where `key_mask` (B, 1, 1, N) is False are
    not seen.
    """
    weight, bias = attention.qkv.weight, attention.qkv.bias
    width = attention.attn_dim
    q_bias, kv_bias = (None, None) if bias is None else (bias[:width], bias[width:])
    q = F.linear(queries, weight[:width], q_bias).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
    k, v = F.linear(tokens, weight[width:], kv_bias).unflatten(2, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    update = _attended(attention, attention.q_norm(q), attention.k_norm(k), v, key_mask)
    return attention.proj_drop(attention.proj(attention.norm(update.transpose(1, 2).flatten(2))))


def _attended(
    attention: Attention, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, key_mask: torch.Tensor | None
) -> torch.Tensor:
    """(B, heads, M, d), (B, heads, N, d) twice -> (B, heads, M, d), fused or not as the layer is told."""
    if attention.fused_attn:
        dropout = attention.attn_drop.p if attention.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=key_mask, dropout_p=dropout)
    similarities = (q * attention.scale) @ k.transpose(-2, -1)
    if key_mask is not None:
        similarities = similarities.masked_fill(~key_mask, float("-inf"))
    return attention.attn_drop(similarities.softmax(dim=-1)) @ v


def run_reducing_block(
    block: nn.Module, tokens: torch.Tensor, kept: KeptTokens, arguments: dict[str, torch.Tensor]
) -> torch.Tensor:
    """A block's output at the kept tokens: queries from them, keys and values from all.

    A kept token's output equals that of the whole block followed by dropping. Blocks that cannot be split (rotary
    or relative positions, other norms) run whole and drop: the same numbers, more work.

    Args:
        block: a block of timm.
        tokens: (B, T + N, C).
        kept: M of them.
        arguments: what the block's attention needs to know of positions.

    Returns:
        (B, M, C)
    """
    if not can_split(block):
        return kept.select(block(tokens, **arguments))
    normed = block.norm1(tokens)
    return run_split_block(block, kept.select(tokens), kept.select(normed), normed)


def run_split_block(
    block: nn.Module, residual: torch.Tensor, queries: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """A block that `can_split`, on a stream (B, M, C) with its queries (B, M, C), and normed tokens (B, T + N, C)."""
    residual = residual + block.drop_path1(block.ls1(attend(block.attn, queries, tokens)))
    return residual + block.drop_path2(block.ls2(block.mlp(block.norm2(residual))))
