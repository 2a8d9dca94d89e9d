"""One set of batch-norm statistics for all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from detectron2.engine import HookBase
from detectron2.utils import comm
from torch import nn


class AverageStatistics(HookBase):
    """Average the running statistics of batch norms (a convolutional stem has them) over the processes every step.

    Each process normalises by its own part of the batch and would keep its own statistics; evaluation would then mix
    several models, and a checkpoint hold only the first process's. The hook belongs before evaluation and saving.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [module for module in model.modules() if getattr(module, "track_running_stats", False)]
        self._statistics = [statistic for norm in norms for statistic in (norm.running_mean, norm.running_var)]

    @torch.no_grad()
    def after_step(self) -> None:
        if comm.get_world_size() == 1 or not self._statistics:
            return
        flat = torch.cat([statistic.flatten() for statistic in self._statistics])
        dist.all_reduce(flat)
        flat /= comm.get_world_size()
        sizes = [statistic.numel() for statistic in self._statistics]
        for statistic, average in zip(self._statistics, flat.split(sizes), strict=True):
            statistic.copy_(average.view_as(statistic))
