"""`CastWeights`: casts all weights of a module at once for a training step under autocast, which casts one by one.

A step of ViT-B with an ATM decoder has 250 weights and biases of linear layers. Autocast starts a kernel for each of
them in the forward pass, and one for each gradient in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.func import functional_call

# Layers that autocast computes in the lower precision.
CAST_LAYERS = (nn.Linear, nn.Conv2d)
# Limits of one kernel of PyTorch's foreach functions with two lists: 64 tensors per list, and 320 chunks of 65536
# elements, of which the last of each tensor may be partly empty.
MOST_TENSORS, MOST_ELEMENTS = 64, 2**24


def hold_cast_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Convert, in place, the weights that autocast would convert at each use; the others stay as they are.

    Under autocast of this type the results do not change.
    """
    for layer in module.modules():
        if isinstance(layer, CAST_LAYERS):
            layer.to(dtype)


class CastWeights:
    """A module that is called with weights in the type of autocast; the gradients are float32.

    Values are those of autocast. Weights are cast in groups, so that the gradients of one are ready, and can be
    averaged over processes, while those of the next are computed.

    Args:
        module: its parameters stay as they are. It must not be computed again in the backward pass (gradient
            checkpointing), where it would find them.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        # Parameters are looked up by module and name, because others may replace them later, as in averaged models.
        self._owners: dict[str, tuple[nn.Module, str]] = {}
        parameters: dict[str, nn.Parameter] = {}
        for prefix, layer in module.named_modules():
            if isinstance(layer, CAST_LAYERS):
                for name, parameter in layer.named_parameters(recurse=False):
                    path = f"{prefix}.{name}" if prefix else name
                    parameters[path], self._owners[path] = parameter, (layer, name)
        self._groups: list[list[str]] = []
        for trained in (True, False):
            chosen = {name: value for name, value in parameters.items() if value.requires_grad == trained}
            self._groups += _groups_of_one_kernel(chosen)

    def __call__(self, *arguments: Any) -> Any:
        """The result of the module, under autocast."""
        weights: dict[str, torch.Tensor] = {}
        for group in self._groups:
            parameters = [getattr(*self._owners[path]) for path in group]
            dtype = torch.get_autocast_dtype(parameters[0].device.type)
            weights.update(zip(group, _Cast.apply(dtype, *parameters), strict=True))
        return functional_call(self._module, weights, arguments, tie_weights=False)


class _Cast(torch.autograd.Function):
    """Float32 tensors to another type, and their gradients back, in few kernels."""

    @staticmethod
    def forward(ctx: FunctionCtx, dtype: torch.dtype, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        ctx.set_materialize_grads(False)  # unused weights get no gradient
        return tuple(_converted(list(tensors), dtype))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *gradients: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        converted = iter(_converted([gradient for gradient in gradients if gradient is not None], torch.float32))
        return None, *(None if gradient is None else next(converted) for gradient in gradients)


def _converted(tensors: list[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    results = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    # There is no public function for many tensors.
    torch._foreach_copy_(results, tensors)
    return results


def _groups_of_one_kernel(parameters: dict[str, nn.Parameter]) -> list[list[str]]:
    """Names of consecutive parameters, as many together as one kernel takes; a larger one is alone."""
    groups: list[list[str]] = []
    room = 0
    for name, parameter in parameters.items():
        if not groups or len(groups[-1]) == MOST_TENSORS or parameter.numel() > room:
            groups.append([])
            room = MOST_ELEMENTS
        groups[-1].append(name)
        room -= parameter.numel()
    return groups
