"""Two processes with different batch-norm statistics leave a step with the same ones."""

import types

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from segvit.engine.statistics_average import AverageStatistics


def average_in_process(rank, init_file, results):
    dist.init_process_group("gloo", init_method=f"file://{init_file}", rank=rank, world_size=2)
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.LayerNorm(4))
    model[1].running_mean.fill_(float(rank))
    model[1].running_var.copy_(torch.tensor([1.0, 3.0 + rank]))
    hook = AverageStatistics(model)
    hook.trainer = types.SimpleNamespace()
    hook.after_step()
    torch.save((model[1].running_mean, model[1].running_var, model[1].num_batches_tracked), results / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_processes_share_their_statistics(tmp_path):
    mp.spawn(average_in_process, args=(tmp_path / "init", tmp_path), nprocs=2)
    for rank in range(2):
        mean, variance, batches = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert mean.tolist() == [0.5, 0.5]
        assert variance.tolist() == [1.0, 3.5]
        assert batches == 0


def test_one_process_is_left_alone():
    norm = nn.BatchNorm2d(2)
    norm.running_mean.fill_(3.0)
    AverageStatistics(norm).after_step()
    assert norm.running_mean.tolist() == [3.0, 3.0]
