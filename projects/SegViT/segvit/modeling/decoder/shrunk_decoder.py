"""`ShrunkDecoder`: query-based up-sampling of the tokens, then ATM layers on the result (SegViT v1, section 3.4).

Shape shorthand: B images, h x w grid, N = h*w tokens, D decoder width, K classes = queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from segvit.modeling.decoder.atm_decoder import ATMDecoderLayer
from segvit.modeling.decoder.attention_to_mask import project_for_all
from segvit.modeling.decoder.detail import DetailBranch, DetailConfig
from segvit.modeling.decoder.outputs import DecoderOutputs, StageOutputs
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.query_upsampling import InheritedQueryUpsampling, LearnedQueryUpsampling
from segvit.modeling.token_reduction.token_set import Stage
from segvit.modeling.tokens import map_to_tokens
from segvit.modeling.training_outputs import ReturnsMoreInTraining


class ShrunkDecoder(ReturnsMoreInTraining, nn.Module):
    """Class queries to class logits and masks, on a map restored by query-based up-sampling.

    Unlike in `ATMDecoder`, every layer predicts its own masks and classes, masks are not summed, and those of the last
    layer are the prediction, as in the official code.

    Args:
        upsampling: stages to a (B, D, h, w) map.
        num_classes: K.
        hidden_dim: D.
        num_layers: ATM layers.
        num_heads: attention heads.
        dropout: rate of every dropout in training.
        init_std: standard deviation of the truncated-normal Linear init.
        detail: of the branch that refines the masks, from the restored map; None for masks on that map's grid.
    """

    def __init__(
        self,
        *,
        upsampling: LearnedQueryUpsampling | InheritedQueryUpsampling,
        num_classes: int,
        hidden_dim: int,
        num_layers: int,
        num_heads: int,
        dropout: float = 0.0,
        init_std: float = 0.02,
        detail: DetailConfig | None = None,
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.class_queries = nn.Embedding(num_classes, hidden_dim)
        self.layers = nn.ModuleList(
            ATMDecoderLayer(dim=hidden_dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        initialize_linear_layers(self, init_std)
        # After the initialization, which its zero projection must not get.
        self.detail = None if detail is None else DetailBranch(detail, deep_dim=hidden_dim, query_dim=hidden_dim)

    def forward(self, stages: list[Stage], pixels: Sequence[torch.Tensor] = ()) -> DecoderOutputs:
        """Decode the stages of one batch.

        Args:
            stages: deepest first; the last is a map on the full grid (h, w).
            pixels: the maps that the detail branch reads beside the restored one, finest first.

        Returns:
            The dict of `ATMDecoder.forward`; "aux_outputs" holds the earlier layers' predictions, in training.
        """
        # Restore the full grid. Up-sampling visits the stages the other way round, shallowest first.
        feature_map = self.upsampling(stages[::-1])
        tokens = map_to_tokens(feature_map)

        queries = self.class_queries.weight.expand(tokens.shape[0], -1, -1).contiguous()  # see `ATMDecoder`
        predictions: list[StageOutputs] = []
        layers = cast(list[ATMDecoderLayer], [*self.layers])
        projected = project_for_all([layer.cross_attn for layer in layers], tokens)
        for layer, keys_and_values in zip(layers, projected, strict=True):
            # Earlier layers predict in training only (deep supervision).
            is_predicting = self.training or layer is layers[-1]
            queries, masks = layer(queries, keys_and_values, return_masks=is_predicting)
            if is_predicting:
                masks = masks.unflatten(2, feature_map.shape[-2:])
                predictions.append({"pred_logits": self.class_embed(queries), "pred_masks": masks})
        outputs: DecoderOutputs = {**predictions[-1], "aux_outputs": [*predictions[:-1]]}
        return outputs if self.detail is None else self.detail(outputs, queries, feature_map, pixels)
