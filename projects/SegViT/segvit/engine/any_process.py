"""`any_process`: logical OR of a flag over all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from detectron2.utils import comm


def any_process(flag: bool, device: torch.device) -> bool:
    """Return True in every process if `flag` is True in at least one; a collective, so every process must call it.

    Args:
        flag: of this process.
        device: the device of the process group's tensors: the GPU for NCCL, the CPU for gloo.
    """
    if comm.get_world_size() == 1:
        return flag
    flags = torch.tensor(float(flag), device=device)
    dist.all_reduce(flags, op=dist.ReduceOp.MAX)
    return bool(flags.item())
