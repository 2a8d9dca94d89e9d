"""gpu_proof.py runs on the null device, where no check can compare values and none may end in an error."""

import json

import pytest

from helpers.repository import PROJECT
from null_device import start_on_null_device

SCRIPT = PROJECT / "benchmarks" / "gpu_proof.py"
IN_A_CHILD = """
import subprocess, sys
code = "import torch; torch.nn.Conv2d(3, 4, 3, device='cuda')(torch.ones(1, 3, 8, 8, device='cuda')).sum().item()"
sys.exit(subprocess.run([sys.executable, "-c", code]).returncode)
"""


@pytest.mark.slow
def test_the_proof_compares_models_to_the_end(null_device, tmp_path):
    arguments = ("--quick", "--parts", "agreement", "--output", str(tmp_path / "proof"))
    assert start_on_null_device(null_device, SCRIPT, *arguments).returncode == 1
    checks = json.loads((tmp_path / "proof" / "gpu_proof.json").read_text())["parts"]["agreement"]
    assert len(checks) == 3
    for values in checks.values():
        assert "error" not in values and "skipped" not in values and "loss_error" in values, values


@pytest.mark.slow
def test_processes_that_a_program_starts_need_no_cudnn(null_device, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(IN_A_CHILD)
    assert start_on_null_device(null_device, program).returncode == 0
