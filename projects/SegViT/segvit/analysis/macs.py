"""Parameters and multiply-accumulates (MACs) of a model, without its weights and without running it.

The convention is fvcore's, in which the papers' figures are given: one multiply-accumulate of a convolution or a
matrix product counts 1, a normalised element 5 (batch norm at inference: 2), a bilinearly upsampled element 4, other
elementwise work nothing. Unlike fvcore this counts fused attention, B * heads * L * S * (d + dv), gives exact integers
for einsum, and needs no trace: `torch.utils.flop_counter` sees the operators of a forward pass on the meta device.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypedDict

import torch
from torch import Size, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segvit.analysis.pipeline import DensePredictor

aten = torch.ops.aten


class ParamCounts(TypedDict):
    """Parameters of a model and of its two parts."""

    total: int
    backbone: int
    sem_seg_head: int


class MacCounts(TypedDict):
    """MACs of one image; `inference` is what follows the head: upsampling and class mixing."""

    total: int
    backbone: int
    sem_seg_head: int
    inference: int


def count_params(model: nn.Module) -> ParamCounts:
    """Count the parameters of a model with the attributes `backbone` and `sem_seg_head`, frozen ones included."""
    return ParamCounts(total=_numel(model), backbone=_numel(model.backbone), sem_seg_head=_numel(model.sem_seg_head))


def count_macs(model: nn.Module, size: tuple[int, int]) -> MacCounts:
    """Count the MACs of one image of `size` (H, W) in pixels through the three parts of a model, in eval mode.

    Args:
        model: with the attributes `backbone`, `sem_seg_head` and `semantic_inference`, on any device; left unchanged.
    """
    parts = DensePredictor(backbone=model.backbone, sem_seg_head=model.sem_seg_head, inference=model.semantic_inference)
    parts = weightless_copy(parts).eval()
    images = torch.empty(1, 3, *size, device="meta")
    features, backbone = _counted(parts.backbone, images)
    outputs, sem_seg_head = _counted(parts.sem_seg_head, features)
    _, inference = _counted(parts.inference, outputs, size)
    return MacCounts(
        total=backbone + sem_seg_head + inference, backbone=backbone, sem_seg_head=sem_seg_head, inference=inference
    )


def count_module_macs(module: nn.Module, *inputs: Any) -> int:
    """Count the MACs of one call, where the module and the inputs are: on the meta device this costs nothing.

    A model whose shapes depend on the values of its input must be counted on a real device, after
    `requires_grad_(False)`: the counter fails on a parameter that is an argument of a submodule.
    """
    return _counted(module, *inputs)[1]


def weightless_copy(module: nn.Module) -> nn.Module:
    """A copy on the meta device, without gradients; the weights are never copied."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, memo)


def _numel(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _counted(module: nn.Module, *inputs: Any) -> tuple[Any, int]:
    """The module's output and its MACs. The counter reports floating-point operations: two per MAC."""
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=_mapping()) as counter:
        outputs = module(*inputs)
    return outputs, counter.get_total_flops() // 2


def _mapping() -> dict[Any, Callable[..., int]]:
    """The operators below and each of their overloads: an overload not named here may be decomposed uncounted."""
    overloads = {getattr(op, name): flops for op, flops in _MORE_OPERATORS.items() for name in op.overloads()}
    return {**_MORE_OPERATORS, **overloads}


def _per_output_element(macs: int) -> Callable[..., int]:
    def flops(*_: Any, out_val: Tensor | tuple[Tensor, ...], **__: Any) -> int:
        out = out_val if isinstance(out_val, Tensor) else out_val[0]
        return 2 * macs * out.numel()

    flops._get_raw = True  # the counter passes tensors, not shapes
    return flops


def _attention_flops(query: Size, key: Size, value: Size, *_: Any, **__: Any) -> int:
    *batch, length, width = query  # (B, heads, L, d)
    return 2 * Size(batch).numel() * length * key[-2] * (width + value[-1])


# What torch's counter does not count, as operator -> floating-point operations.
_MORE_OPERATORS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten.native_layer_norm: _per_output_element(5),
    aten.native_group_norm: _per_output_element(5),
    aten.native_batch_norm: _per_output_element(2),
    aten._native_batch_norm_legit_no_training: _per_output_element(2),
    aten.cudnn_batch_norm: _per_output_element(2),
    aten.upsample_bilinear2d: _per_output_element(4),
    aten.upsample_nearest2d: _per_output_element(1),
}
