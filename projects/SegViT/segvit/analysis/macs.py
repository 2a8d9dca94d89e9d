"""Counts of parameters and multiply-accumulates (MACs) of a model, on the meta device.

The convention is fvcore's, which the papers use: one multiply-accumulate of a convolution or a matrix product counts 1,
a normalized element 5 (batch norm at inference: 2), a bilinearly upsampled element 4, other elementwise work nothing.
Unlike fvcore this counts fused attention, B * heads * L * S * (d + dv), gives exact integers for einsum, and needs no
trace: `torch.utils.flop_counter` sees the operators of a forward pass on the meta device.
"""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable, Sequence
from typing import Any, TypedDict, TypeVar

import torch
from torch import Size, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from segvit.modeling import SegViT

aten = torch.ops.aten
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class ParamCounts(TypedDict):
    """Parameters of a model: in all, of its encoder and of its head (named as Detectron2 names these two)."""

    total: int
    backbone: int
    sem_seg_head: int


class MacCounts(TypedDict):
    """MACs of one image: in all, and by part; `inference` is upsampling and class mixing."""

    total: int
    backbone: int
    sem_seg_head: int
    inference: int


def count_params(model: SegViT) -> ParamCounts:
    """Count the parameters of a model, frozen ones included."""
    backbone = _count_parameters(model.encoder)
    sem_seg_head = _count_parameters(model.head)
    return ParamCounts(total=backbone + sem_seg_head, backbone=backbone, sem_seg_head=sem_seg_head)


def count_macs(model: SegViT, size: tuple[int, int]) -> MacCounts:
    """Count the MACs of one image of `size` (H, W) in pixels, of whole patches, through a model in eval mode.

    Args:
        model: on any device; left unchanged.
    """
    model = weightless_copy(model).eval()
    images = torch.empty(1, len(model.pixel_mean), *size, device="meta")
    stages, backbone = _run_and_count(model.encoder, images)
    outputs, sem_seg_head = _run_and_count(model.head, stages)
    _, inference = _run_and_count(model.inference, outputs, size)
    total = backbone + sem_seg_head + inference
    return MacCounts(total=total, backbone=backbone, sem_seg_head=sem_seg_head, inference=inference)


def mean_macs(model: SegViT, images: Sequence[Tensor]) -> float:
    """The mean MACs of images (I, H, W), at least one, through a model in eval mode.

    Counted on the meta device, like `count_macs`. A model whose number of tokens depends on the image computes each of
    them; gradients of its parameters are then switched off.
    """
    sizes = [model.padded_size((image.shape[-2], image.shape[-1])) for image in images]
    try:
        by_size = {size: count_macs(model, size)["total"] for size in dict.fromkeys(sizes)}
        return statistics.fmean(by_size[size] for size in sizes)
    except (RuntimeError, NotImplementedError):  # shapes that depend on values
        model.requires_grad_(False)
        return statistics.fmean(_computed_macs(model, *pair) for pair in zip(images, sizes, strict=True))


def _computed_macs(model: SegViT, image: Tensor, size: tuple[int, int]) -> int:
    outputs, network = _run_and_count(model, image[None])
    _, inference = _run_and_count(model.inference, outputs, size)
    return network + inference


def count_module_macs(module: nn.Module, *inputs: Any) -> int:
    """Count the MACs of one call on the device of the module and the inputs: on the meta device this costs nothing.

    A model whose shapes depend on the values of its input must be counted on a real device, after
    `requires_grad_(False)`: the counter fails on a parameter that is an argument of a submodule.
    """
    return _run_and_count(module, *inputs)[1]


def weightless_copy(module: AnyModule) -> AnyModule:
    """A copy on the meta device, in float32 without gradients; the weights are never copied."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta", torch.float32), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = buffer.to("meta")
    return copy.deepcopy(module, memo)


def _count_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _run_and_count(module: nn.Module, *inputs: Any) -> tuple[Any, int]:
    """The module's output and its MACs. The counter reports floating-point operations: two per MAC."""
    with torch.inference_mode(), FlopCounterMode(display=False, custom_mapping=_mapping()) as counter:
        outputs = module(*inputs)
    return outputs, counter.get_total_flops() // 2


def _mapping() -> dict[Any, Callable[..., int]]:
    """The operators below with each of their overloads: an overload left out may be decomposed and not counted."""
    overloads = {getattr(op, name): flops for op, flops in _MORE_OPERATORS.items() for name in op.overloads()}
    return {**_MORE_OPERATORS, **overloads}


class _PerOutputElement:
    """Floating-point operations of an operator that takes so many MACs per element of its (first) output."""

    # The counter then passes tensors, not shapes.
    _get_raw = True

    def __init__(self, macs: int) -> None:
        self.macs = macs

    def __call__(self, *_: Any, out_val: Tensor | tuple[Tensor, ...], **__: Any) -> int:
        output = out_val if isinstance(out_val, Tensor) else out_val[0]
        return 2 * self.macs * output.numel()


def _attention_flops(query: Size, key: Size, value: Size, *_: Any, **__: Any) -> int:
    *batch, length, width = query  # (B, heads, L, d)
    return 2 * Size(batch).numel() * length * key[-2] * (width + value[-1])


# Operators that torch's counter does not know, with their floating-point operations.
_MORE_OPERATORS: dict[Any, Callable[..., int]] = {
    aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
    aten.native_layer_norm: _PerOutputElement(5),
    aten.native_group_norm: _PerOutputElement(5),
    aten.native_batch_norm: _PerOutputElement(2),
    aten._native_batch_norm_legit_no_training: _PerOutputElement(2),
    aten.cudnn_batch_norm: _PerOutputElement(2),
    aten.upsample_bilinear2d: _PerOutputElement(4),
    aten.upsample_nearest2d: _PerOutputElement(1),
}
