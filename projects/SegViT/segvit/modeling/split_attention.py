"""Run a self-attention layer of timm with queries and keys from different tokens.

Shape shorthand: B images, M queries, N tokens, C width, d head width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention
from timm.models.vision_transformer import Block


def can_split(block: torch.nn.Module) -> bool:
    """Whether a block is timm's pre-norm one and `attend` knows its attention, whose projection stacks q, k and v."""
    return type(block) is Block and type(block.attn) is Attention and block.attn.gate is None


def attend(attention: Attention, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Attend from queries (B, M, C) to tokens (B, N, C) with the layer's own weights -> (B, M, C).

    With the tokens as their own queries this is the layer itself.
    """
    weight, bias = attention.qkv.weight, attention.qkv.bias
    width = attention.attn_dim
    q_bias, kv_bias = (None, None) if bias is None else (bias[:width], bias[width:])
    q = F.linear(queries, weight[:width], q_bias).unflatten(2, (attention.num_heads, -1)).transpose(1, 2)
    k, v = F.linear(tokens, weight[width:], kv_bias).unflatten(2, (2, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    dropout = attention.attn_drop.p if attention.training else 0.0
    update = F.scaled_dot_product_attention(attention.q_norm(q), attention.k_norm(k), v, dropout_p=dropout)
    return attention.proj_drop(attention.proj(attention.norm(update.transpose(1, 2).flatten(2))))
