"""`initialize_linear_layers`: initial weights of the decoder, the edge head and encoders trained from scratch."""

from __future__ import annotations

from torch import nn


def initialize_linear_layers(module: nn.Module, std: float, residual_scale: float = 1.0) -> None:
    """Truncated-normal weights and zero biases for every Linear layer in `module`.

    Args:
        module: initialized in place.
        std: standard deviation of the weights.
        residual_scale: factor on `std` for layers named "proj" or "fc2", which write into the residual stream.
    """
    for name, layer in module.named_modules():
        # Tensors on the meta device have no values; PyTorch would take milliseconds for each.
        if isinstance(layer, nn.Linear) and not layer.weight.is_meta:
            writes_residual = name.rpartition(".")[2] in ("proj", "fc2")
            nn.init.trunc_normal_(layer.weight, std=std * residual_scale if writes_residual else std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
