"""A compiled bfloat16 training step on CUDA, with the launches and waits of the table."""

from pathlib import Path

import pytest

from count_tables import require_counts_of_table

FOLDER = Path(__file__).parent


@pytest.mark.slow
def test_launches_and_waits_of_a_compiled_step(null_device):
    require_counts_of_table(null_device, FOLDER / "compiled_steps.py", FOLDER / "compiled_counts.json")
