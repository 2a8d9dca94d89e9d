"""`compile_network`: MODEL.COMPILE, which turns encoder and decoders into graphs of fewer kernels by torch.compile."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from segvit.modeling.continual.group_decoders import AddedDecoder


def compile_network(backbone: nn.Module, head: nn.Module) -> None:
    """Compile, at their first call, the encoder and each decoder of a head, for training as for inference.

    In place: tensors keep their names in checkpoints. The losses stay as they are; their shapes depend on the labels.
    A second image size is compiled anew, later ones share a graph for any size.
    """
    for module in (backbone, *_decoders(head)):
        module.compile()


def _decoders(head: nn.Module) -> Iterator[nn.Module]:
    """The children of a head that read stages: `decoder` or `classifier`, and those of later groups of classes."""
    for name, child in head.named_children():
        if name in ("decoder", "classifier"):
            yield child
        elif isinstance(child, nn.ModuleList):
            yield from (added.decoder for added in child if isinstance(added, AddedDecoder))
