"""`TrainingStep`, `peak_memory_mb`, and `benchmark.py --train`, which reports both."""

import json
import pickle
from functools import partial

import pytest
import torch

from helpers.repository import PROJECT
from helpers.scripts import load_script
from measurements import peak_memory_mb
from training_step import TrainingStep, with_linear_head

BENCHMARKS = PROJECT / "benchmarks"
MIB = 2**20


def test_steps_lower_the_loss(tiny_cfg):
    torch.manual_seed(0)
    tiny_cfg.SOLVER.BASE_LR = 1e-3
    step = TrainingStep(tiny_cfg, batch_size=2, image_size=(32, 48))
    # As in training, no gradients are held during the forward pass: they would count in the peak of memory.
    held = []
    step.model.register_forward_pre_hook(
        lambda model, _: held.extend(name for name, weight in model.named_parameters() if weight.grad is not None)
    )
    losses = [step() for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]
    assert held == []


def test_labels_contain_num_present_classes(tiny_cfg):
    step = TrainingStep(tiny_cfg, batch_size=2, image_size=(32, 48), num_present=3)
    for inputs in step.inputs:
        assert inputs["image"].shape == (3, 32, 48) and inputs["sem_seg"].shape == (32, 48)
        assert inputs["sem_seg"].unique().tolist() == [0, 1, 2]


def test_with_linear_head_keeps_the_encoder(tiny_cfg):
    tiny_cfg.SOLVER.NO_WEIGHT_DECAY = ["*norm*", "*class_queries*"]
    segvit, linear = (
        TrainingStep(cfg, batch_size=1, image_size=(32, 48)) for cfg in (tiny_cfg, with_linear_head(tiny_cfg))
    )
    assert set(linear.model.backbone.state_dict()) == set(segvit.model.backbone.state_dict())
    assert sum(parameter.numel() for parameter in linear.model.sem_seg_head.parameters()) == 48 * 5 + 5
    assert linear() > 0


class Allocation:
    """Allocates and frees a number of bytes at each call."""

    def __init__(self, num_bytes):
        self.num_bytes = num_bytes

    def __call__(self):
        return len(torch.ones(self.num_bytes, dtype=torch.uint8))


@pytest.mark.slow
def test_peak_memory_is_that_of_an_allocation():
    assert 390 < peak_memory_mb(partial(Allocation, 400 * MIB), device=torch.device("cpu")) < 440


def test_benchmark_train_reports_time_memory_and_macs(tiny_cfg, tmp_path, monkeypatch, capsys):
    benchmark = load_script(BENCHMARKS / "benchmark.py")
    # The new processes of the real one take seconds each, and the tests of benchmark_parts.py start them.
    monkeypatch.setattr(benchmark, "peak_memory_mb", lambda build, device: float(len(pickle.dumps(build))))
    (tmp_path / "one.yaml").write_text(tiny_cfg.dump())
    one = str(tmp_path / "one.yaml")
    options = ["--train", "--batch", "2", "--rounds", "2", "--json"]
    benchmark.main(["--config-file", one, "--against", "linear", *options])
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["models"]] == ["linear", "one"]
    assert all(row["median_ms"] > 0 and row["peak_mb"] > 0 and row["gmacs"] > 0 for row in report["models"])
    with pytest.raises(SystemExit):
        benchmark.main(["--config-file", one, "--against", "mix", "--train"])
    assert "--train" in capsys.readouterr().err
