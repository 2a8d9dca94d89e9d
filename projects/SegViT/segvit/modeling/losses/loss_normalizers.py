"""Loss normalizers: the counts that sums of losses are divided by, averaged over all processes.

A loss is a sum over masks, queries, pixels or patches divided by their total weight. The total is counted over the
whole batch, also when the batch runs in several parts, and averaged over the processes. Gradients that are summed over
the parts and averaged over the processes are then those of one large batch (DETR divides its losses by `num_boxes` in
the same way).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist

# Counts by loss name, of one process; and what they become in `mean_over_processes`.
LossCounts = dict[str, torch.Tensor | float]
LossNormalizers = Mapping[str, torch.Tensor]
# The least divisor: a sum over nothing is 0, and its loss is 0 too.
SMALLEST = 1e-6


def mean_over_processes(counts: LossCounts, device: torch.device) -> dict[str, torch.Tensor]:
    """Average each count over all processes, in one all-reduce that every process must join.

    Args:
        counts: loss name -> scalar; the same names on every process.
        device: of the losses.

    Returns:
        Loss name -> positive float32 scalar.
    """
    values = torch.stack([torch.as_tensor(count, dtype=torch.float32, device=device) for count in counts.values()])
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(counts, values.clamp(min=SMALLEST).unbind(), strict=True))
