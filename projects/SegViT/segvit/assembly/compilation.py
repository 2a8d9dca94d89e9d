"""`compile_network`: MODEL.COMPILE, which turns encoder and decoders into graphs of fewer kernels by torch.compile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from segvit.modeling.continual.group_decoders import AddedDecoder
from segvit.modeling.losses.criterion import SegViTCriterion

# The modes of MODEL.COMPILE_MODE, as settings of torch.compile. "fewest-kernels" puts independent kernels into one, and
# computes each sum in a single kernel.
COMPILE_MODES: dict[str, dict[str, Any]] = {
    "default": {},
    "fewest-kernels": {"options": {"combo_kernels": True, "split_reductions": False}},
}


def compile_network(backbone: nn.Module, head: nn.Module, mode: str) -> None:
    """Compile, at their first call, the encoder, each decoder of a head, and the mask losses.

    In place: tensors keep their names in checkpoints. A second image size is compiled anew, later ones share a graph
    for any size.

    Args:
        mode: one of `COMPILE_MODES`.
    """
    for module in (backbone, *_decoders(head)):
        module.compile(**COMPILE_MODES[mode])
    for module in head.modules():
        if isinstance(module, SegViTCriterion):
            module.compiled = True


def _decoders(head: nn.Module) -> Iterator[nn.Module]:
    """The children of a head that read stages: `decoder` or `classifier`, and those of later groups of classes."""
    for name, child in head.named_children():
        if name in ("decoder", "classifier"):
            yield child
        elif isinstance(child, nn.ModuleList):
            yield from (added.decoder for added in child if isinstance(added, AddedDecoder))
