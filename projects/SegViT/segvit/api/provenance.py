"""`Provenance`: the metrics and the card of loaded weights, which hold until the weights change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

# Integers of as many bytes as the elements of a tensor.
INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class Provenance:
    """What is known of weights.

    Attributes:
        metrics: by name, in percent.
        card: the text of their model card.
        checksum: of the weights.
    """

    metrics: Mapping[str, float]
    card: str
    checksum: int

    def holds(self, weights: Mapping[str, torch.Tensor]) -> bool:
        """Whether these are still the weights."""
        return checksum(weights) == self.checksum


def checksum(weights: Mapping[str, torch.Tensor]) -> int:
    """A sum over the bits of all tensors; one pass over them, on their device, which the host waits for once."""
    sums = torch.stack(
        [
            tensor.detach().contiguous().view(INTEGERS[tensor.element_size()]).sum(dtype=torch.int64)
            for tensor in weights.values()
        ]
    )
    return int((sums * torch.arange(1, len(sums) + 1, device=sums.device)).sum())
