"""`AttentionToMask`: cross-attention whose similarity map is the mask (SegViT v1, section 3.2, equations 1 to 3).

Shape shorthand: B images, K class queries, N tokens, D decoder width, d = D / heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class AttentionToMask(nn.Module):
    """Update class queries by attention over tokens, and compute masks from the same queries and keys.

    The mask of a query is the mean over heads of its scaled similarities before the softmax. The mean of the heads'
    dot products equals one dot product over the full width divided by the number of heads, so the masks come from a
    single (K, D) x (D, N) product, the update from fused attention, and no (B, heads, K, N) tensor exists.
    """

    def __init__(self, *, dim: int, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(dropout)

    def forward(
        self,
        queries: torch.Tensor,
        keys_and_values: tuple[torch.Tensor, torch.Tensor],
        *,
        return_masks: bool,
        key_bias: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Attend from class queries to tokens.

        Args:
            queries: (B, K, D).
            keys_and_values: (B, N, D) each, which `project_for_all` computes from the tokens.
            return_masks: whether to compute mask logits.
            key_bias: (B, 1, 1, N), added to the similarities of the attention, not to the masks.

        Returns:
            The update of the queries (B, K, D), and the mask logits (B, K, N) or None.
        """
        q = self.q(queries)
        k, v = keys_and_values
        update = F.scaled_dot_product_attention(
            self._split_heads(q),
            self._split_heads(k),
            self._split_heads(v),
            attn_mask=key_bias,
            dropout_p=self.dropout if self.training else 0.0,
        )
        update = self.proj_drop(self.proj(update.transpose(1, 2).flatten(2)))
        return update, self._mask_logits(q, k) if return_masks else None

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # (B, heads, K or N, d)

    def _mask_logits(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        scale = (q.shape[-1] // self.num_heads) ** -0.5 / self.num_heads
        return (q * scale) @ k.transpose(1, 2)


def project_for_all(
    attentions: Sequence[AttentionToMask], tokens: torch.Tensor
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values (B, N, D) of several modules that read the same tokens (B, N, D), by one product.

    A GPU then starts a sixth of the kernels for three modules, in the forward and in the backward pass.
    """
    projections = [projection for attention in attentions for projection in (attention.k, attention.v)]
    weight, bias = (torch.cat([getattr(layer, name) for layer in projections]) for name in ("weight", "bias"))
    parts = F.linear(tokens, weight, bias).chunk(len(projections), dim=-1)
    return list(zip(parts[::2], parts[1::2], strict=True))
