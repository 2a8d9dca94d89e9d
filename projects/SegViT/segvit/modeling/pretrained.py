"""Pre-trained encoder weights from timm's hub or a local file, loaded verifiably."""

from __future__ import annotations

import timm
from torch import nn


def load_pretrained_encoder(encoder: nn.Module, *, name: str, source: str) -> None:
    """Load weights into a timm model in place.

    Args:
        encoder: the timm model.
        name: its timm name without a tag.
        source: a timm tag such as "augreg_in21k_ft_in1k".
    """
    weights = timm.create_model(f"{name}.{source}", pretrained=True, num_classes=0).state_dict()
    encoder.load_state_dict(weights)
