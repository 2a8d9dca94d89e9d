"""Every kind of model runs every mode of inference on CUDA, with the launches and waits of the table."""

import json
from pathlib import Path

import pytest

from count_tables import require_counts_of_table
from gpu.kinds import KINDS

FOLDER = Path(__file__).parent
TABLE = FOLDER / "inference_counts.json"


@pytest.mark.slow
def test_launches_and_waits_of_inference(null_device):
    require_counts_of_table(null_device, FOLDER / "inference_modes.py", TABLE)


def test_labels_of_an_image_need_at_most_three_waits():
    """One for the labels; Shrunk++ reads the number of kept tokens, and timm's rotary positions copy coordinates."""
    counts = json.loads(TABLE.read_text())
    waits = {case: count["waits"] for case, count in counts.items() if case.endswith("one image, labels")}
    assert len(waits) == len(KINDS)
    assert max(waits.values()) <= 3
