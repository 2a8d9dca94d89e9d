"""Resuming after kill -9 at random moments: at most one checkpoint period is lost, and the final state is unchanged.

SEGVIT_KILLS sets the number of kills: 4 by default, 30 for the full test of about two minutes.
"""

import json
import os
from pathlib import Path

import pytest

from helpers.processes import run_program


@pytest.mark.reliability
@pytest.mark.slow
def test_killed_runs_end_in_the_state_of_an_unbroken_run(toy_scenes_root, tmp_path):
    kills = int(os.environ.get("SEGVIT_KILLS", "4"))
    harness = Path(__file__).with_name("kill_harness.py")
    words = ["--kills", kills, "--seed", "0", "--folder", tmp_path]
    environment = {"DETECTRON2_DATASETS": str(toy_scenes_root)}
    done = run_program(harness, *words, environment=environment, timeout=280 + 60 * kills)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["kills"] == kills
    assert result["most_lost"] <= result["period"]
