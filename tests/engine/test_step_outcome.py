"""Outcomes that are read a step later, as on a GPU: the same steps, metrics and errors as if they were read at once.

A fused optimizer on the CPU leaves out steps by itself as one on a GPU does.
"""

import json

import pytest
import torch
from detectron2.utils.env import seed_all_rng
from detectron2.utils.events import EventStorage
from torch import nn

from helpers.processes import run_in_two_processes
from helpers.toy_run import assert_same, final_state, toy_run_cfg
from segvit.engine import Trainer
from segvit.engine.non_finite_guard import MOST_SKIPPED, NonFiniteError, NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep
from segvit.engine.precision import Precision, make_precision

NAN = float("nan")


class Breakable(nn.Linear):
    """A model whose loss follows from the values in the batch."""

    def forward(self, batch):
        return {"loss_value": super().forward(torch.stack([image["image"] for image in batch])).square().mean()}


def fused_step(values, folder, *, action="stop", precision=None):
    torch.manual_seed(0)
    model = Breakable(2, 1)
    batches = [[{"image": torch.tensor([value, 1.0]), "file_name": f"{at}.png"}] for at, value in enumerate(values)]
    return OptimizationStep(
        model,
        batches,
        torch.optim.AdamW(model.parameters(), lr=0.1, fused=True),
        precision=precision or make_precision("float32", "cpu"),
        guard=NonFiniteGuard(action=action, folder=folder),
    )


def run_steps(step, iterations, storage):
    with storage:
        for step.iter in iterations:
            step.run_step()


def weights(step):
    return {name: value.clone() for name, value in step.model.state_dict().items()}


def test_a_bad_step_is_left_out_and_told_in_the_next_one(tmp_path):
    step, storage = fused_step([1.0, NAN, 1.0], tmp_path), EventStorage()
    run_steps(step, [0], storage)
    before = weights(step)
    run_steps(step, [1], storage)
    assert_same(weights(step), before)
    with pytest.raises(NonFiniteError, match=r"iteration 1: .*'loss_value': nan.* weight.* 1\.png"):
        run_steps(step, [2], storage)
    assert_same(weights(step), before)
    saved = torch.load(tmp_path / "non_finite" / "iteration_0000001_rank0.pth", weights_only=True)
    assert saved["batch"][0]["file_name"] == "1.png" and saved["batch"][0]["image"].isnan().any()


def test_no_checkpoint_is_written_after_a_bad_step(tmp_path):
    step = fused_step([1.0, NAN], tmp_path)
    run_steps(step, [0, 1], EventStorage())
    with pytest.raises(NonFiniteError, match="iteration 1"):
        step.state_dict()


def test_skipped_steps_have_no_metrics_and_are_counted(tmp_path, caplog):
    step, storage = fused_step([1.0, NAN, 1.0, *[NAN] * MOST_SKIPPED, 1.0], tmp_path, action="skip"), EventStorage()
    run_steps(step, range(4), storage)
    assert "iteration 1" in caplog.text and "The step is skipped" in caplog.text
    assert [iteration for _, iteration in storage.history("total_loss").values()] == [0, 2]
    with pytest.raises(NonFiniteError, match=f"iteration {2 + MOST_SKIPPED}"):
        run_steps(step, range(4, 4 + MOST_SKIPPED), storage)
    assert all(value.isfinite().all() for value in weights(step).values())


def test_a_scaled_gradient_may_overflow(tmp_path):
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=1000)
    precision = Precision(device_type="cpu", dtype=torch.float32, grad_scaler=scaler)
    step = fused_step([1e3] * 30, tmp_path, precision=precision)
    before = weights(step)
    run_steps(step, [0], EventStorage())
    assert_same(weights(step), before)
    assert precision.grad_scaler.get_scale() == 2.0**126
    run_steps(step, range(1, 25), EventStorage())
    assert not torch.equal(weights(step)["weight"], before["weight"])


def fused_run(folder, *, later):
    """A run of 6 iterations with a fused optimizer, whose outcomes are read later or at once; its losses by line."""

    class FusedTrainer(Trainer):
        @classmethod
        def build_optimizer(cls, cfg, model):
            return torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    trainer = FusedTrainer(toy_run_cfg(folder, SOLVER__ACCUM_STEPS=2))
    trainer._trainer._is_read_later = later
    trainer.resume_or_load(resume=False)
    trainer.train()
    lines = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    return [{name: value for name, value in line.items() if "time" not in name} for line in lines]


def test_a_run_is_the_same_whenever_outcomes_are_read(toy_scenes_root, monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(toy_scenes_root))
    lines = {}
    for later in (False, True):
        seed_all_rng(1)
        lines[later] = fused_run(tmp_path / str(later), later=later)
    assert lines[True] == lines[False]
    later, at_once = (final_state(tmp_path / str(later))["model_final"]["model"] for later in (True, False))
    assert_same(dict(later), dict(at_once))


def read_later_in_two_processes(rank, folder):
    values = [1.0, NAN if rank else 1.0, 1.0]
    step, storage = fused_step(values, folder, action="skip"), EventStorage()
    run_steps(step, [0], storage)
    before = weights(step)
    step.wants_stop = rank == 1
    run_steps(step, [1], storage)
    assert not step.stop_is_due
    assert_same(weights(step), before)
    run_steps(step, [2], storage)
    assert step.stop_is_due
    with storage:
        step.settle()
    latest = storage.latest()
    assert ("total_loss" in latest) == (rank == 0)


def test_processes_refuse_a_step_and_stop_together(tmp_path):
    run_in_two_processes(read_later_in_two_processes, tmp_path)
    assert {path.name[-9:-4] for path in (tmp_path / "non_finite").iterdir()} == {"rank0", "rank1"}
