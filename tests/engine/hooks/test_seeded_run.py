"""The seeds of an iteration."""

from types import SimpleNamespace

import torch

from segvit.engine.hooks.seeded_run import SeededRun


def draws_of(hook, iteration, monkeypatch):
    """The CPU's next random number and the seeds that GPUs got, at the start of an iteration."""
    seeds = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeds.append("only the current GPU"))
    hook.trainer = SimpleNamespace(iter=iteration)
    hook.before_step()
    return torch.rand(()).item(), seeds


def test_an_iteration_seeds_the_cpu_and_every_gpu(monkeypatch):
    hook = SeededRun(SimpleNamespace(seed=3, start=0))
    number, seeds = draws_of(hook, 5, monkeypatch)
    assert len(seeds) == 1 and isinstance(seeds[0], int)
    assert draws_of(hook, 5, monkeypatch) == (number, seeds)
    other_number, other_seeds = draws_of(hook, 6, monkeypatch)
    assert other_number != number and other_seeds != seeds
