"""Memory and open files over a short training; for a long one, run `soak.py` (docs/distributed.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from soak import growth


@pytest.mark.reliability
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads /proc")
def test_memory_and_open_files_do_not_grow(tmp_path):
    """In its own process, so that objects of other tests are not counted."""
    command = [sys.executable, Path(__file__).with_name("soak.py"), "--iterations", "120", "--period", "10"]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    done = subprocess.run(
        [*command, "--output", tmp_path], capture_output=True, text=True, env=environment, timeout=400
    )
    assert done.returncode == 0, done.stderr
    memory, files = growth(json.loads((tmp_path / "soak.json").read_text()))
    assert memory < 0.05 and files <= 0
    assert len(list((tmp_path / "run").glob("model_*.pth"))) >= 12
