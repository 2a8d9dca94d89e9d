"""Resuming after kill -9 at random moments: at most one checkpoint period is lost, and the final state is unchanged.

SEGVIT_KILLS sets the number of kills: 4 by default, 30 for the full test of about two minutes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.reliability
@pytest.mark.slow
def test_killed_runs_end_in_the_state_of_an_unbroken_run(toy_scenes_root, tmp_path):
    kills = int(os.environ.get("SEGVIT_KILLS", "4"))
    environment = os.environ | {
        "DETECTRON2_DATASETS": str(toy_scenes_root),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "CUDA_VISIBLE_DEVICES": "",
    }
    harness = Path(__file__).with_name("kill_harness.py")
    command = [sys.executable, harness, "--kills", str(kills), "--seed", "0", "--folder", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=280 + 60 * kills)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == kills
    assert result["most_lost"] <= result["period"]
