"""`FusedBiasedAttention`: what a GPU keeps of attention with a learned bias, on tensors of any device.

BEiT adds a trained bias to its attention. A CPU has no fused kernel for that, and keeps the probabilities of all pairs
of tokens; a GPU keeps queries, keys, values, the bias, the result and a number per query.

Shape shorthand: B images, N queries, M keys, d = width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.overrides import TorchFunctionMode


class FusedBiasedAttention(TorchFunctionMode):
    """A context in which attention with a trained bias has the memory of a GPU's kernel, and no meaningful values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        bias = kwargs.get("attn_mask")
        if func is not F.scaled_dot_product_attention or bias is None or not bias.requires_grad:
            return func(*args, **kwargs)
        queries, keys, values = args
        return _Attention.apply(queries, keys, values, bias.to(queries.dtype))


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, queries: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """(B, heads, N, d), (B, heads, M, d) twice and (1, heads, N, M) -> (B, heads, N, d)."""
        result = torch.empty_like(queries)
        sums = queries.new_empty(queries.shape[:-1], dtype=torch.float32)
        ctx.save_for_backward(queries, keys, values, bias, result, sums)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        queries, keys, values, bias, *_ = ctx.saved_tensors  # type: ignore[attr-defined]  # missing in torch's stub
        # The bias has a gradient for each image, which are added.
        of_bias = bias.new_empty(queries.shape[0], *bias.shape[1:]).sum(dim=0, keepdim=True)
        return torch.empty_like(queries), torch.empty_like(keys), torch.empty_like(values), of_bias
