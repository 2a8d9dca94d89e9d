"""A run that is broken off and resumed ends as the unbroken one, bit for bit."""

import os
import random

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils.env import seed_all_rng

from helpers.processes import run_in_two_processes
from helpers.toy_run import assert_same, final_state, run, toy_run_cfg
from segvit.data.sample_stream import BatchStream, SeededSamples


class Break(HookBase):
    """Ends the training after an iteration, as a crash would."""

    def __init__(self, iteration):
        self.iteration = iteration

    def after_step(self):
        if self.trainer.iter == self.iteration:
            raise RuntimeError("broken off")


@pytest.fixture
def data(toy_scenes_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    monkeypatch.setenv("PYTHONHASHSEED", "0")  # `seed_all_rng` writes it


def broken_and_resumed(cfg, *, at, seeds=(1, 2), workers=0):
    """Two processes of one run; the second one's own seed and its workers are others."""
    seed_all_rng(seeds[0])
    with pytest.raises(RuntimeError, match="broken off"):
        run(cfg, resume=False, hooks=[Break(at)])
    cfg.DATALOADER.NUM_WORKERS = workers
    seed_all_rng(seeds[1])
    return run(cfg, resume=True)


@pytest.mark.parametrize(("at", "workers"), [(2, 0), (3, 2)])
def test_a_resumed_run_equals_the_unbroken_one(data, tmp_path, at, workers):
    """Images, their crops and colours, dropout, optimizer, schedule, statistics, and what was best."""
    seed_all_rng(1)
    run(toy_run_cfg(tmp_path / "whole"), resume=False)
    resumed = broken_and_resumed(toy_run_cfg(tmp_path / "parts"), at=at, workers=workers)
    assert resumed.start_iter in (2, 3, 4)
    assert_same(final_state(tmp_path / "parts"), final_state(tmp_path / "whole"))


def test_an_evaluation_that_was_cut_off_is_made_up_for(data, tmp_path):
    """Checkpoint and evaluation of one iteration: the run ends between them."""
    changes = {"SOLVER__CHECKPOINT_PERIOD": 2, "TEST__EVAL_PERIOD": 2, "SOLVER__MAX_ITER": 4}
    seed_all_rng(1)
    run(toy_run_cfg(tmp_path / "whole", **changes), resume=False)
    cfg = toy_run_cfg(tmp_path / "parts", **changes)
    seed_all_rng(1)
    run(cfg, resume=False)
    (tmp_path / "parts" / "model_best.pth").unlink()
    (tmp_path / "parts" / "last_checkpoint").write_text("model_0000001.pth")
    run(cfg, resume=True)
    assert_same(final_state(tmp_path / "parts"), final_state(tmp_path / "whole"))


def two_processes(rank, folder, root):
    os.environ["DETECTRON2_DATASETS"] = root
    torch.set_num_threads(1)
    seed_all_rng(1 + rank)
    run(toy_run_cfg(folder / "whole"), resume=False)
    broken_and_resumed(toy_run_cfg(folder / "parts"), at=3, seeds=(1 + rank, 7 + rank))


def test_two_processes_resume_as_well(data, toy_scenes_root, tmp_path):
    run_in_two_processes(two_processes, tmp_path, str(toy_scenes_root))
    assert_same(final_state(tmp_path / "parts"), final_state(tmp_path / "whole"))


def drawn(record):
    return record, random.random(), np.random.rand(), torch.rand(1).item()


def batches(stream, count, workers=0):
    loader = torch.utils.data.DataLoader(
        SeededSamples("abcdefg", drawn), batch_sampler=stream, num_workers=workers, collate_fn=list
    )
    iterator = iter(loader)
    return [next(iterator) for _ in range(count)]


def sampler(seed, rank=0, world_size=1):
    order = np.random.default_rng(seed).permutation(10_000) % 7
    return order[rank::world_size].tolist()


def stream(seed=3, **options):
    return BatchStream(sampler, seed=seed, **{"batch_size": 4, **options})


def test_the_stream_is_entered_anywhere_whatever_the_workers():
    whole, later = batches(stream(), 6), stream()
    later.start = 2
    assert batches(later, 4) == whole[2:]
    assert batches(later, 4, workers=2) == whole[2:]
    assert batches(stream(seed=4), 6) != whole
    assert len({sample[1:] for batch in whole for sample in batch}) == 24  # no two draw alike


def test_processes_share_the_stream_of_one():
    parts = [
        BatchStream(lambda seed, rank=rank: sampler(seed, rank, 2), batch_size=2, seed=3, rank=rank, world_size=2)
        for rank in range(2)
    ]
    for whole, *shares in zip(batches(stream(), 3), *(batches(part, 3) for part in parts)):
        assert sorted(shares[0] + shares[1]) == sorted(whole)


def test_mapping_leaves_the_randomness_of_the_process_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    samples = SeededSamples("abcdefg", drawn)
    assert samples[next(iter(stream()))[0]] == samples[next(iter(stream()))[0]]
    assert torch.equal(torch.rand(1), expected)
