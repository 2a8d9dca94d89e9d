"""A training step that trains, and what its memory and its command line say."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import pytest
import torch

from segvit.analysis.peak_memory import peak_memory_mb
from segvit.analysis.training_step import TrainingStep

TOOLS = Path(__file__).parents[2] / "projects" / "SegViT" / "tools"
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
    for name in ("one", "other"):
        (tmp_path / f"{name}.yaml").write_text(tiny_cfg.dump())
    one, other = (str(tmp_path / f"{name}.yaml") for name in ("one", "other"))
    benchmark.main(["--config-file", one, "--against", other, "--train", "--batch", "2", "--rounds", "2", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in report["models"]] == ["one", "other"]
    assert all(row["median_ms"] > 0 and row["peak_mb"] > 0 and row["gmacs"] > 0 for row in report["models"])
    with pytest.raises(SystemExit):
        benchmark.main(["--config-file", one, "--against", "linear", "--train"])
    assert "--train compares config files" in capsys.readouterr().err
