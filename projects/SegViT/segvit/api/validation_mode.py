"""`validation_mode`: losses of a network in evaluation mode, without dropout and drop path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segvit.assembly.meta_arch import SegViT
from segvit.modeling.training_outputs import ReturnsMoreInTraining


@contextmanager
def validation_mode(network: SegViT) -> Iterator[None]:
    """Let a network in evaluation mode return losses: only what is marked for it is in training mode."""
    network.train()
    marked = [module for module in network.modules() if isinstance(module, ReturnsMoreInTraining) and module.training]
    network.eval()
    try:
        for module in marked:
            module.training = True
        yield
    finally:
        network.eval()
