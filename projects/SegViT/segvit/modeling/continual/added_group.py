"""A group of classes that a trained model learns later (SegViTv2, continual segmentation).

Shape shorthand: D decoder width, k classes of the group.
"""

from __future__ import annotations

import torch
from torch import nn

from segvit.modeling.decoder.atm_decoder import ATMDecoder, DecoderOutputs, StageReading
from segvit.modeling.decoder.shrunk_decoder import ShrunkDecoder
from segvit.modeling.initialization import initialize_linear_layers
from segvit.modeling.token_reduction.token_set import Stage

Decoder = ATMDecoder | ShrunkDecoder
Reading = list[StageReading] | StageReading


class AddedDecoder(nn.Module):
    """New class queries, a new decoder and a new classifier, as the paper has it.

    Args:
        decoder: of the group's k classes.

    Attributes:
        factor: what the group's scores are multiplied by, against those of the other groups.
    """

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("factor", torch.ones(()))

    def forward(self, stages: list[Stage], first: Decoder, reading: Reading | None = None) -> DecoderOutputs:
        """Decode the stages; the first group's decoder and what it has read of them are not needed."""
        return self.decoder(stages)


class AddedQueries(nn.Module):
    """New class queries and a new classifier that ask the first group's frozen decoder: ours, the light option.

    Args:
        num_classes: k.
        hidden_dim: D.
        init_std: standard deviation of the truncated-normal Linear init.

    Attributes:
        factor: what the group's scores are multiplied by, against those of the other groups.
    """

    def __init__(self, *, num_classes: int, hidden_dim: int, init_std: float) -> None:
        super().__init__()
        self.class_queries = nn.Embedding(num_classes, hidden_dim)
        self.class_embed = nn.Linear(hidden_dim, num_classes + 1)
        self.register_buffer("factor", torch.ones(()))
        initialize_linear_layers(self, init_std)

    def forward(self, stages: list[Stage], first: Decoder, reading: Reading | None = None) -> DecoderOutputs:
        """Ask the first group's decoder; `reading` is what that has read of the stages, if it has already."""
        reading = first.read(stages) if reading is None else reading
        return first.answer(reading, self.class_queries, self.class_embed, with_aux=self.training)
