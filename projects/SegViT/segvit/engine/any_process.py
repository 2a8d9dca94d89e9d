"""What one process notices, all act on."""

from __future__ import annotations

import torch
import torch.distributed as dist
from detectron2.utils import comm


def any_process(noticed: bool, device: torch.device) -> bool:
    """Whether any of the processes noticed something; all must ask. `device` is where the processes' tensors are."""
    if comm.get_world_size() == 1:
        return noticed
    flag = torch.tensor(float(noticed), device=device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag.item())
