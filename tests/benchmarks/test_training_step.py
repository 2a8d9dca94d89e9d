"""A training step that trains, and what its memory and its command line say."""

import importlib.util
import json
from functools import partial

import pytest
import torch

from helpers.repository import PROJECT
from peak_memory import peak_memory_mb
from training_step import TrainingStep, with_linear_head

TOOLS = PROJECT / "benchmarks"
MIB = 2**20


def test_steps_lower_the_loss(tiny_cfg):
    torch.manual_seed(0)
    tiny_cfg.SOLVER.BASE_LR = 1e-3
    step = TrainingStep(tiny_cfg, batch_size=2, size=(32, 48))
    losses = [step() for _ in range(8)]
    assert losses[-1] < 0.9 * losses[0]


def test_labels_hold_as_many_classes_as_asked(tiny_cfg):
    step = TrainingStep(tiny_cfg, batch_size=2, size=(32, 48), num_present=3)
    for inputs in step.inputs:
        assert inputs["image"].shape == (3, 32, 48) and inputs["sem_seg"].shape == (32, 48)
        assert inputs["sem_seg"].unique().tolist() == [0, 1, 2]


def test_the_floor_is_the_encoder_with_a_linear_classifier(tiny_cfg):
    tiny_cfg.SOLVER.NO_WEIGHT_DECAY = ["*norm*", "*class_queries*"]
    whole, floor = (TrainingStep(cfg, batch_size=1, size=(32, 48)) for cfg in (tiny_cfg, with_linear_head(tiny_cfg)))
    assert set(floor.model.backbone.state_dict()) == set(whole.model.backbone.state_dict())
    assert sum(parameter.numel() for parameter in floor.model.sem_seg_head.parameters()) == 48 * 5 + 5
    assert floor() > 0


class Allocation:
    """Fills that many bytes at each call and lets them go."""

    def __init__(self, num_bytes):
        self.num_bytes = num_bytes

    def __call__(self):
        return len(torch.ones(self.num_bytes, dtype=torch.uint8))


@pytest.mark.slow
def test_peak_memory_of_an_allocation():
    small, large = (peak_memory_mb(partial(Allocation, size * MIB), device=torch.device("cpu")) for size in (100, 400))
    assert 250 < large - small < 350


@pytest.mark.slow
def test_benchmark_of_training_steps(tiny_cfg, tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("benchmark", TOOLS / "benchmark.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    (tmp_path / "one.yaml").write_text(tiny_cfg.dump())
    one = str(tmp_path / "one.yaml")
    options = ["--train", "--batch", "2", "--rounds", "2", "--json"]
    benchmark.main(["--config-file", one, "--against", "linear", *options])
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["models"]] == ["linear", "one"]
    assert all(row["median_ms"] > 0 and row["peak_mb"] > 0 and row["gmacs"] > 0 for row in report["models"])
    with pytest.raises(SystemExit):
        benchmark.main(["--config-file", one, "--against", "mix", "--train"])
    assert "--train compares linear and config files" in capsys.readouterr().err
