"""How little memory labels at full size need.

Shape shorthand: H x W pixels, K classes.
"""

import os
import subprocess
import sys

import pytest
import torch
from detectron2.modeling import build_model

# Prints by how many bytes the peak of the process grows while a picture of 6000 x 8000 pixels, which the model reads at
# 64 x 85, is given its labels at full size: 8 classes, 1.5 GB of scores.
MEASURE = """
import pathlib, sys, torch, numpy as np
from detectron2.config import CfgNode
from segvit.inference import SegViTPredictor

def memory(name):
    return 1024 * int(pathlib.Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

cfg = CfgNode.load_cfg(open(sys.argv[1]))
predictor = SegViTPredictor(cfg, sys.argv[2])
picture = np.zeros((6000, 8000, 3), dtype=np.uint8)
picture[::7, ::5] = 200
predictor(picture[:128, :192])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = memory("VmRSS")
labels = predictor(picture)
assert labels.shape == (6000, 8000) and labels.dtype == np.uint8
print(memory("VmHWM") - before)
"""


@pytest.mark.reliability
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_labels_of_a_large_picture_in_little_memory(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, tiny_cfg.INPUT.MIN_SIZE_TEST = 8, 64
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    arguments = [sys.executable, "-c", MEASURE, str(tmp_path / "config.yaml"), str(tmp_path / "model.pth")]
    # A fixed threshold: what is freed goes back to the system, and the peak is that of what is held.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    label_map = 6000 * 8000
    assert label_map / 2 < int(done.stdout) <= 2 * label_map
