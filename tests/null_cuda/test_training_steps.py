"""Every kind of model runs a float16 and a bfloat16 step on CUDA, with the launches and waits of the table."""

import json
from pathlib import Path

import pytest

from count_tables import differences, require_counts_of_table, write_table
from gpu.kinds import KINDS

FOLDER = Path(__file__).parent
TABLE = FOLDER / "training_counts.json"
FORMATS = ("float16", "bfloat16")


@pytest.mark.slow
def test_launches_and_waits_of_training_steps(null_device):
    require_counts_of_table(null_device, FOLDER / "training_steps.py", TABLE)


def test_no_step_waits_more_than_once():
    counts = json.loads(TABLE.read_text())
    assert len(counts) == len(KINDS) * len(FORMATS)
    assert max(count["waits"] for count in counts.values()) <= 1


def test_a_table_shows_a_new_wait_and_many_more_launches(tmp_path):
    table = tmp_path / "counts.json"
    write_table(table, {name: {"launches": 100, "waits": 1} for name in ("kept", "waits", "launches", "gone")})
    counts = {
        "kept": {"launches": 104, "waits": 1, "wait_lines": {}},
        "waits": {"launches": 100, "waits": 2, "wait_lines": {"criterion.py:1": 1}},
        "launches": {"launches": 106, "waits": 1, "wait_lines": {}},
        "new": {"launches": 1, "waits": 0, "wait_lines": {}},
    }
    assert differences(counts, table) == [
        "gone: in the table, but not counted",
        "launches: 106 launches, in the table 100",
        "new: counted, but not in the table",
        "waits: 2 waits, in the table 1: {'criterion.py:1': 1}",
    ]
