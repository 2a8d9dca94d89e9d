"""Peak memory of `SegViTPredictor` on a large image: its labels need no scores of the full size.

Shape shorthand: H x W pixels, K classes.
"""

import os
import subprocess
import sys

import pytest
import torch
from detectron2.modeling import build_model

# Prints the growth of the process's peak memory in bytes while an image of 6000 x 8000 pixels is segmented. The model
# reads it at 64 x 85. Scores of 8 classes at the full size would take 1.5 GB.
MEASURE = """
import pathlib, sys, torch, numpy as np
from detectron2.config import CfgNode
from segvit.inference import SegViTPredictor

def memory(name):
    return 1024 * int(pathlib.Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])

cfg = CfgNode.load_cfg(open(sys.argv[1]))
predictor = SegViTPredictor(cfg, sys.argv[2])
image = np.zeros((6000, 8000, 3), dtype=np.uint8)
image[::7, ::5] = 200
predictor(image[:128, :192])
pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
before = memory("VmRSS")
labels = predictor(image)
assert labels.shape == (6000, 8000) and labels.dtype == np.uint8
print(memory("VmHWM") - before)
"""


@pytest.mark.reliability
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_labels_of_a_large_image_take_at_most_two_label_maps_of_memory(tiny_cfg, tmp_path):
    tiny_cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES, tiny_cfg.INPUT.MIN_SIZE_TEST = 8, 64
    tiny_cfg.MODEL.SEGVIT.OUTPUT = "diagonal"
    (tmp_path / "config.yaml").write_text(tiny_cfg.dump())
    torch.save({"model": build_model(tiny_cfg).state_dict()}, tmp_path / "model.pth")
    arguments = [sys.executable, "-c", MEASURE, str(tmp_path / "config.yaml"), str(tmp_path / "model.pth")]
    # With a fixed threshold, freed memory is returned to the system and does not count in the peak.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    label_map = 6000 * 8000
    assert label_map / 2 < int(done.stdout) <= 2 * label_map
