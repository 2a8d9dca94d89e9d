"""The way of a training batch from the mapper to the losses: the files that docs/architecture.md lists."""

import re
import sys
from pathlib import Path

from detectron2.modeling import build_model

import segvit
from helpers.repository import ROOT

PACKAGE = Path(segvit.__file__).parent
MAPPER = "data/dataset_mapper.py"


def files_called_by(work):
    """Files of the package with a function that `work` calls, directly or not."""
    called = set()

    def record(frame, event, _):
        path = Path(frame.f_code.co_filename)
        if event == "call" and PACKAGE in path.parents:
            called.add(path.relative_to(PACKAGE).as_posix())

    sys.setprofile(record)
    try:
        work()
    finally:
        sys.setprofile(None)
    return called


def test_a_batch_crosses_the_files_that_the_documents_list(tiny_cfg, make_input):
    model = build_model(tiny_cfg).train()
    batch = [make_input(32, 48, seed=seed) for seed in (1, 2)]
    crossed = {MAPPER} | files_called_by(lambda: model(batch))
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text[text.index("## A training step") : text.index("Around it,")]
    listed = re.findall(r"^\d+\. `([\w/]+\.py)`", section, re.MULTILINE)
    assert crossed == set(listed)
    assert len(listed) <= 14
