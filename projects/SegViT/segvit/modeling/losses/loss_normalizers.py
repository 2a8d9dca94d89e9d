"""What sums of losses are divided by, so that parts of a batch, on several processes or one after the other, add up.

A loss is a sum over what counts (masks, queries, pixels, patches) divided by their total weight. The weights of all
processes are averaged, so that gradients that are averaged, too, are those of one large batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist

# Where nothing counts the sum is 0, and so shall be the loss.
SMALLEST = 1e-6


def normalizers(totals: Mapping[str, torch.Tensor | float], device: torch.device) -> dict[str, torch.Tensor]:
    """The mean of each total over all processes, above 0; every process takes part, whatever it has.

    Args:
        totals: loss name -> scalar.
        device: where the losses are.
    """
    values = torch.stack([torch.as_tensor(total, dtype=torch.float32, device=device) for total in totals.values()])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(totals, values.clamp(min=SMALLEST).unbind(), strict=True))


def shares(parts: Sequence[Mapping[str, torch.Tensor | float]], device: torch.device) -> list[dict[str, torch.Tensor]]:
    """Factors that turn the losses of the parts of a batch into summands of the losses of the whole.

    Args:
        parts: of each part the totals by loss name; all have the same names.
        device: where the losses are.
    """
    whole = normalizers({name: sum(part[name] for part in parts) for name in parts[0]}, device)
    return [{name: part[name] / whole[name] for name in whole} for part in (normalizers(p, device) for p in parts)]
