"""`TRANSLATIONS`: GELU in ONNX operators, in the order of products that onnxruntime fuses into one kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch


def gelu(features: Any, approximate: str = "none") -> Any:
    """The last operations of `aten.gelu`, x (1 + erf(x / sqrt 2)) / 2, or of its approximation by tanh.

    PyTorch's own translation takes the half of the bracket first, which onnxruntime 1.32 leaves as five kernels.

    Args:
        features: a value of the graph that is being made, of any shape.
        approximate: "none" or "tanh", as in PyTorch.
    """
    from onnxscript import opset18 as op  # the extra [export] brings it

    if approximate == "tanh":
        cubic = op.Mul(op.Mul(op.Mul(features, features), features), 0.044715)
        bent = op.Tanh(op.Mul(op.Add(features, cubic), (2 / torch.pi) ** 0.5))
    else:
        bent = op.Erf(op.Div(features, 2**0.5))
    return op.Mul(op.Mul(features, op.Add(bent, 1.0)), 0.5)


# For `torch.onnx.export`.
TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {torch.ops.aten.gelu.default: gelu}
