"""Two processes with different batch-norm statistics leave a step with the same ones."""

import types

import pytest
import torch
from torch import nn

from helpers.two_processes import run_in_two_processes
from segvit.engine.hooks.statistics_average import AverageStatistics


def average_in_process(rank, results):
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.LayerNorm(4))
    model[1].running_mean.fill_(float(rank))
    model[1].running_var.copy_(torch.tensor([1.0, 3.0 + rank]))
    hook = AverageStatistics(model)
    hook.trainer = types.SimpleNamespace()
    hook.after_step()
    torch.save((model[1].running_mean, model[1].running_var, model[1].num_batches_tracked), results / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_share_their_statistics(tmp_path):
    run_in_two_processes(average_in_process, tmp_path)
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
