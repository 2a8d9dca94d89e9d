"""`validation_mode`: losses of a network in evaluation mode, without dropout and drop path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from timm.layers import Attention
from torch import nn

from segvit.assembly.meta_arch import SegViT
from segvit.modeling.decoder.attention_to_mask import AttentionToMask

# Modules with dropout of their own, or with statistics.
RANDOM = (nn.Dropout, nn.BatchNorm2d, Attention, AttentionToMask)


@contextmanager
def validation_mode(network: SegViT) -> Iterator[None]:
    """Let a network in evaluation mode return losses: its head computes what they need, and nothing is random."""
    network.train()
    trained = [
        module
        for module in (network, *network.sem_seg_head.modules())
        if module.training and not isinstance(module, RANDOM)
    ]
    network.eval()
    try:
        for module in trained:
            module.training = True
        yield
    finally:
        network.eval()
