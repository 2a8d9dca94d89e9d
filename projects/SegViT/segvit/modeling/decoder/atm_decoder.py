"""`ATMDecoder`: class queries pass through stages of decoder layers, masks are summed (SegViT v1, section 3.2).

Shape shorthand: B images, h x w grid, N = h*w tokens, C encoder width, D decoder width, K classes = queries, S stages.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp
from torch import nn

from segvit.modeling.decoder.attention_to_mask import AttentionToMask, project_for_all
from segvit.modeling.decoder.detail import DetailBranch, DetailConfig
from segvit.modeling.decoder.outputs import DecoderOutputs, StageOutputs
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.token_set import CellMap, as_map
from segvit.modeling.tokens import map_to_tokens
from segvit.modeling.training_outputs import ReturnsMoreInTraining

Map = torch.Tensor | CellMap


class ATMDecoderLayer(nn.Module):
    """Post-norm decoder layer: self-attention over class queries, Attention-to-Mask over tokens, feed-forward."""

    def __init__(self, *, dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads, qkv_bias=True, attn_drop=dropout, proj_drop=dropout)
        self.cross_attn = AttentionToMask(dim=dim, num_heads=num_heads, dropout=dropout)
        self.mlp = Mlp(dim, hidden_features=4 * dim, act_layer=nn.ReLU, drop=dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        queries: torch.Tensor,
        keys_and_values: tuple[torch.Tensor, torch.Tensor],
        *,
        return_masks: bool,
        key_bias: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(B, K, D) queries, (B, N, D) keys and values -> queries (B, K, D) and mask logits (B, K, N) or None."""
        queries = self.norm1(queries + self.self_attn(queries))
        update, masks = self.cross_attn(queries, keys_and_values, return_masks=return_masks, key_bias=key_bias)
        queries = self.norm2(queries + update)
        return self.norm3(queries + self.mlp(queries)), masks


class ATMStage(nn.Module):
    """Project one encoder stage to the decoder's width, then run decoder layers on it."""

    def __init__(self, *, in_dim: int, dim: int, num_layers: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.input_proj = nn.Linear(in_dim, dim)
        self.input_norm = nn.LayerNorm(dim)
        self.layers = nn.ModuleList(
            ATMDecoderLayer(dim=dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )

    def forward(self, queries: torch.Tensor, stage: Map) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, K, D) queries and a map of (B, C, h, w) -> queries and the last layer's mask logits (B, K, h, w)."""
        # Tokens that cells share are read once, with the weight of four; their masks are copied at the end.
        cells = stage.cells if isinstance(stage, CellMap) else None
        tokens = stage.tokens if isinstance(stage, CellMap) else map_to_tokens(stage)
        tokens = self.input_norm(self.input_proj(tokens))
        key_bias = None if cells is None else cells.size_bias(tokens.dtype)[..., cells.num_prefix_tokens :]

        # The queries pass through the layers; the last one computes masks.
        layers = cast(list[ATMDecoderLayer], [*self.layers])
        projected = project_for_all([layer.cross_attn for layer in layers], tokens)
        for layer, keys_and_values in zip(layers, projected, strict=True):
            is_last = layer is layers[-1]
            queries, masks = layer(queries, keys_and_values, return_masks=is_last, key_bias=key_bias)
        if isinstance(stage, CellMap):
            return queries, stage.cells.restore_masks(masks)
        return queries, masks.unflatten(2, (stage.shape[-2], stage.shape[-1]))


class ATMDecoder(ReturnsMoreInTraining, nn.Module):
    """Class queries to class logits and masks.

    Args:
        num_classes: K; query c stands for class c.
        in_dims: encoder widths of the stages, in the order in which they are visited: deepest first.
        hidden_dim: D.
        num_layers: decoder layers per stage.
        num_heads: attention heads.
        dropout: rate of every dropout in training.
        init_std: standard deviation of the truncated-normal Linear init.
        detail: of the branch that refines the masks, from the deepest stage; None for masks on the stages' grid.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        in_dims: list[int],
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        dropout: float = 0.0,
        init_std: float = 0.02,
        detail: DetailConfig | None = None,
    ) -> None:
        super().__init__()
        self.class_queries = nn.Embedding(num_classes, hidden_dim)
        self.stages = nn.ModuleList(
            ATMStage(in_dim=in_dim, dim=hidden_dim, num_layers=num_layers, num_heads=num_heads, dropout=dropout)
            for in_dim in in_dims
        )
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        initialize_linear_layers(self, init_std)
        # After the initialization, which its zero projection must not get.
        self.detail = None if detail is None else DetailBranch(detail, deep_dim=in_dims[0], query_dim=hidden_dim)

    def forward(self, feature_maps: list[Map], pixels: Sequence[torch.Tensor] = ()) -> DecoderOutputs:
        """Decode the stages of one batch.

        Args:
            feature_maps: S maps (B, C, h, w), deepest first; grids may differ (hierarchical or reduced encoders).
            pixels: the maps that the detail branch reads beside the deepest one, finest first.

        Returns:
            "pred_logits": (B, K, K + 1) class logits of the last stage; index K is "no object".
            "pred_masks": (B, K, h, w) mask logits, summed over all stages, on the finest grid among them, or on that
                of the detail branch.
            "aux_outputs": in training, the same two of each earlier stage, with masks summed up to that stage, and the
                masks that the detail branch refines; else empty.
        """
        first = feature_maps[0]
        batch_size = (first.tokens if isinstance(first, CellMap) else first).shape[0]  # `len` would fix it in an export
        # Contiguous, because linear layers sum a strided batch in an order that depends on whether weights are frozen.
        queries = self.class_queries.weight.expand(batch_size, -1, -1).contiguous()
        masks: torch.Tensor | None = None
        predicting: list[tuple[torch.Tensor, torch.Tensor]] = []
        for stage, feature_map in zip(self.stages, feature_maps, strict=True):
            # Update the queries by the stage's tokens, and add its masks to those of the stages before.
            queries, stage_masks = stage(queries, feature_map)
            masks = stage_masks if masks is None else add_masks(masks, stage_masks)
            # Earlier stages predict in training only (deep supervision).
            if self.training or stage is self.stages[-1]:
                predicting.append((queries, masks))
        # Classify the queries of all these stages at once.
        logits = self.class_embed(torch.stack([stage_queries for stage_queries, _ in predicting])).unbind()
        predictions: list[StageOutputs] = [
            {"pred_logits": stage_logits, "pred_masks": stage_masks}
            for stage_logits, (_, stage_masks) in zip(logits, predicting, strict=True)
        ]
        outputs: DecoderOutputs = {**predictions[-1], "aux_outputs": [*predictions[:-1]]}
        return outputs if self.detail is None else self.detail(outputs, queries, as_map(first), pixels)


def add_masks(masks: torch.Tensor, other_masks: torch.Tensor) -> torch.Tensor:
    """Sum of two (B, K, ., .) mask logits; the coarser one is interpolated bilinearly to the finer grid."""
    if masks.shape == other_masks.shape:
        return masks + other_masks
    coarse, fine = sorted((masks, other_masks), key=lambda logits: logits[0, 0].numel())
    return fine + F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
