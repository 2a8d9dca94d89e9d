"""Initial weights of Linear layers, for the decoder and for encoders trained from scratch."""

from __future__ import annotations

from torch import nn


def initialize_linear_layers(module: nn.Module, std: float, residual_scale: float = 1.0) -> None:
    """Truncated-normal weights and zero biases for every Linear layer below `module`.

    Layers named "proj" or "fc2", which write into the residual stream, get `std * residual_scale`.
    """
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear):
            writes_residual = name.rpartition(".")[2] in ("proj", "fc2")
            nn.init.trunc_normal_(layer.weight, std=std * residual_scale if writes_residual else std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
