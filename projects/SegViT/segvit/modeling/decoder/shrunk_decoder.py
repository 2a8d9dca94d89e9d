"""The decoder of Shrunk: up-sample the tokens by queries, then one ATM stage on the result (SegViT v1, section 3.4).

Shape shorthand: B images, h x w grid, N = h*w tokens, D decoder width, K classes = queries.
"""

from __future__ import annotations

from torch import nn

from segvit.modeling.decoder.atm_decoder import ATMDecoderLayer, DecoderOutputs, StageReading
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.query_upsampling import InheritedQueryUpsampling, LearnedQueryUpsampling
from segvit.modeling.token_reduction.token_set import Stage
from segvit.modeling.tokens import map_to_tokens


class ShrunkDecoder(nn.Module):
    """Class queries to class logits and masks, on a map that query-based up-sampling restored.

    Unlike `ATMDecoder`, every layer predicts its own masks and classes, masks are not summed, and the last layer's are
    the prediction: so the official code has it.

    Args:
        upsampling: stages to a (B, D, h, w) map.
        num_classes: K.
        hidden_dim: D.
        num_layers: ATM layers.
        num_heads: attention heads.
        dropout: rate of every dropout in training.
        init_std: standard deviation of the truncated-normal Linear init.
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
    ) -> None:
        super().__init__()
        self.upsampling = upsampling
        self.class_queries = nn.Embedding(num_classes, hidden_dim)
        self.layers = nn.ModuleList(
            ATMDecoderLayer(dim=hidden_dim, num_heads=num_heads, dropout=dropout) for _ in range(num_layers)
        )
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        initialize_linear_layers(self, init_std)

    def forward(self, stages: list[Stage]) -> DecoderOutputs:
        """Decode the stages of one batch.

        Args:
            stages: in decoder order, deepest first; the last is a map on the full grid (h, w).

        Returns:
            The dict of `ATMDecoder.forward`; "aux_outputs" holds the earlier layers' predictions, in training.
        """
        return self.answer(self.read(stages), self.class_queries, self.class_embed, with_aux=self.training)

    def read(self, stages: list[Stage]) -> StageReading:
        """What the queries may ask of the restored map."""
        restored = self.upsampling(stages[::-1])
        tokens = map_to_tokens(restored)
        return StageReading([layer.read(tokens) for layer in self.layers], tuple(restored.shape[-2:]))

    def answer(
        self, reading: StageReading, class_queries: nn.Embedding, class_embed: nn.Linear, *, with_aux: bool
    ) -> DecoderOutputs:
        """The outputs of `forward` for any class queries and their classifier; "aux_outputs" as asked for."""
        queries = class_queries.weight.expand(reading.keys_and_values[0][0].shape[0], -1, -1)
        outputs = []
        for layer, keys_and_values in zip(self.layers, reading.keys_and_values, strict=True):
            predicts = with_aux or layer is self.layers[-1]
            queries, masks = layer(queries, keys_and_values, return_masks=predicts)
            if predicts:
                outputs.append({"pred_logits": class_embed(queries), "pred_masks": masks.unflatten(2, reading.grid)})
        return {**outputs[-1], "aux_outputs": outputs[:-1]}
