"""Memory and open files over a short training; for a long one, run `soak.py` (docs/distributed.md)."""

import json
from pathlib import Path

import pytest
from soak import growth

from helpers.processes import run_program


@pytest.mark.reliability
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads /proc")
def test_memory_and_open_files_do_not_grow(tmp_path):
    """In its own process, so that objects of other tests are not counted."""
    script = Path(__file__).with_name("soak.py")
    done = run_program(script, "--iterations", "120", "--period", "10", "--output", tmp_path)
    assert done.returncode == 0, done.stderr
    memory, files = growth(json.loads((tmp_path / "soak.json").read_text()))
    assert memory < 0.05 and files <= 0
    assert len(list((tmp_path / "run").glob("model_*.pth"))) >= 12
