"""`estimate_training_memory`: the memory that training a config takes, computed without weights, data or a GPU.

The model and its activations are fake tensors, which have shapes and hold nothing. A step runs on them as in training,
under the config's autocast, and `LiveMemory` follows which tensors are alive.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from segvit.analysis.from_config import build_random_model
from segvit.analysis.fused_attention import FusedBiasedAttention
from segvit.analysis.live_memory import LiveMemory
from segvit.assembly.backbone import frozen_dtype
from segvit.assembly.model_types import ModelInput
from segvit.d2 import SegViT
from segvit.images import image_format_of
from segvit.modeling.cast_weights import hold_cast_weights

# Classes in each image: as many as images of ADE20K have.
CLASSES_PER_IMAGE = 10
# AdamW keeps two averages of each gradient.
STATES_PER_WEIGHT = 2


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one process, beside what CUDA itself and cuDNN need.

    Attributes:
        weights: parameters and buffers.
        average: the weights that EMA has of its own.
        optimizer: the states of AdamW.
        gradients: of all weights, as they are when the optimizer steps.
        activations: what the forward pass keeps for the backward pass, and the images.
        peak: the most that is in use at a time. The backward pass frees activations while gradients arise, so it may be
            less than the sum of the others.
    """

    weights: int
    average: int
    optimizer: int
    gradients: int
    activations: int
    peak: int


def estimate_training_memory(
    cfg: CfgNode, *, images: int, dtype: torch.dtype, parts: int = 1, averages: bool = False
) -> TrainingMemory:
    """The memory of a training step of a config's model.

    Shrunk++ keeps MODEL.VIT.EDGE.SHARE of the tokens, and attention has no dropout: it keeps nothing on a GPU, where
    it is part of the fused kernel.

    Args:
        cfg: its MODEL.DEVICE decides in which type a frozen encoder holds its weights, and what BEiT's attention keeps.
        images: images that a process holds at once.
        dtype: of autocast; float32 for none.
        parts: number of forward and backward passes whose gradients are added.
        averages: whether EMA has weights of its own.
    """
    model = _fake_model(cfg)
    buffers = list(model.buffers())
    gradients = _size([parameter for parameter in model.parameters() if parameter.requires_grad])
    weights = _size([*model.parameters(), *buffers])
    average = gradients + _size(buffers) if averages else 0
    optimizer = STATES_PER_WEIGHT * gradients
    image_format = image_format_of(cfg)
    pixels = np.zeros((image_format.channels, *model.backbone.img_size), image_format.dtype)
    batch = [_labelled(torch.from_numpy(pixels), model.num_classes)] * images
    on_gpu = torch.device(cfg.MODEL.DEVICE).type == "cuda"
    with FusedBiasedAttention() if on_gpu else nullcontext():
        activations, peak = _memory_of_step(model, batch, dtype=dtype, parts=parts)
    return TrainingMemory(
        weights=weights,
        average=average,
        optimizer=optimizer,
        gradients=gradients,
        activations=activations,
        peak=weights + average + optimizer + peak,
    )


def _memory_of_step(model: SegViT, batch: list[ModelInput], *, dtype: torch.dtype, parts: int) -> tuple[int, int]:
    """Bytes at the end of the first forward pass, and at the peak of the step, beside the weights."""
    with LiveMemory() as memory:
        memory.ignore(*model.parameters(), *model.buffers())
        kept = 0
        # Later parts find the gradients of the first.
        for _ in range(min(parts, 2)):
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                loss = torch.stack(list(model(batch).values())).sum()
            kept = kept or memory.live
            loss.backward()
            del loss
    return kept, memory.peak


def _fake_model(cfg: CfgNode) -> SegViT:
    """The config's model in training mode, as fake tensors on the CPU."""
    held = frozen_dtype(cfg.MODEL.VIT, torch.device(cfg.MODEL.DEVICE).type)
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.SEGVIT.DROPOUT = 0.0
    cfg.MODEL.COMPILE = False
    model = build_random_model(cfg, device="meta")
    # What the encoder would hold on the device.
    if held != torch.float32:
        model.backbone.frozen_dtype = held
        hold_cast_weights(model.backbone.encoder, held)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _replace_tensors(model)
    return model.train()


def _replace_tensors(model: nn.Module) -> None:
    """Put a fake tensor on the CPU in the place of each tensor."""
    fakes: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if id(parameter) not in fakes:
                empty = torch.empty(parameter.shape, dtype=parameter.dtype)
                fakes[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
            setattr(module, name, fakes[id(parameter)])
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))


def _labelled(image: torch.Tensor, num_classes: int) -> ModelInput:
    """An image (C, H, W) and labels as the mapper gives them: stripes of classes."""
    count = min(CLASSES_PER_IMAGE, num_classes)
    height, width = image.shape[1:]
    columns = (torch.arange(width) * count // width).to(torch.uint8)
    return {
        "image": image,
        "sem_seg": columns.expand(height, width).contiguous(),
        "sem_seg_ids": torch.arange(count),
    }


def _size(tensors: list[torch.Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
