"""Every key and shape of the official checkpoints against the models of our configs, without weights.

The folder named by SEGVIT_PARITY_FIXTURES holds lists `keys_*.txt`: one key, shape and type per line, and the number of
parameters in a comment.
"""

import os
import re
from pathlib import Path

import pytest
import torch

from helpers.config_models import meta_model
from segvit.analysis import count_params
from segvit.modeling.weights.official_checkpoint import from_official, require_fit, to_official

FOLDER = os.environ.get("SEGVIT_PARITY_FIXTURES", "")
LISTS = {path.stem: path for path in sorted(Path(FOLDER).glob("keys_*.txt"))} if FOLDER else {}
CONFIG_OF = {
    "keys_vit_b_ade512_base": "ade20k/segvit_vit_base_512",
    "keys_vit_l_ade640": "ade20k/segvit_vit_large_640",
    "keys_vit_l_ade640_shrunk": "ade20k/segvit_vit_large_640_shrunk",
    "keys_vit_l_coco512": "coco_stuff_10k/segvit_vit_large_512",
    "keys_vit_l_coco512_shrunk": "coco_stuff_10k/segvit_vit_large_512_shrunk",
    "keys_vit_l_pc480": "pascal_context/segvit_vit_large_480",
    "keys_vit_l_pc480_shrunk": "pascal_context/segvit_vit_large_480_shrunk",
}
COUNTS = re.compile(r"^# params total (\d+)  backbone (\d+)  decode_head (\d+)$", re.MULTILINE)

pytestmark = pytest.mark.skipif(
    not LISTS, reason="NO PARITY CHECK: SEGVIT_PARITY_FIXTURES names no folder with key lists of official checkpoints"
)


def official_tensors(text):
    """Meta tensors of the listed shapes."""
    rows = [line.split("\t") for line in text.splitlines() if line and not line.startswith("#")]
    return {
        name: torch.empty(
            tuple(int(size) for size in re.findall(r"\d+", shape)), dtype=getattr(torch, dtype), device="meta"
        )
        for name, shape, dtype in rows
    }


def shapes(state):
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in state.items()}


def test_parity_every_list_has_a_config():
    assert set(LISTS) == set(CONFIG_OF)


@pytest.mark.parametrize("name", LISTS)
def test_parity_of_names_and_shapes(name):
    text = LISTS[name].read_text()
    official = official_tensors(text)
    assert f"# keys {len(official)};" in text
    model = meta_model(CONFIG_OF[name])
    converted = from_official({"state_dict": official, "meta": {}})
    require_fit(converted["model"], model.state_dict())
    assert shapes(converted["model"]) == shapes(model.state_dict())
    # Back from our model: only the loss buffers are created, and they have the listed shapes.
    assert shapes(to_official({"model": model.state_dict()})["state_dict"]) == shapes(official)


@pytest.mark.parametrize("name", LISTS)
def test_parity_of_parameter_totals(name):
    model = meta_model(CONFIG_OF[name])
    total, backbone, decode_head = (int(count) for count in COUNTS.search(LISTS[name].read_text()).groups())
    assert count_params(model.network) == {"total": total, "backbone": backbone, "sem_seg_head": decode_head}
