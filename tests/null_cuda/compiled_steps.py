"""Counts launches and waits of a compiled training step in bfloat16 on the null device.

    python tests/null_cuda/null_device.py tests/null_cuda/compiled_steps.py [--write]
    python tests/null_cuda/null_device.py tests/null_cuda/compiled_steps.py MODEL [MODE ...]

prints them as JSON, of a small model, or writes them into compiled_counts.json; or prints, by line, those of a full
model such as "ViT-B 512" (see gpu/training_speed.py) with each MODEL.COMPILE_MODE, or with the one named, or "eager".
Kernels are those of inductor for an H100.
"""

from __future__ import annotations

import contextlib
import json
import sys
from functools import partial
from pathlib import Path

import torch

from count_tables import write_table
from gpu.step_profile import trainer_step
from segvit.assembly.compilation import COMPILE_MODES
from training_steps import count_step, small_step

TABLE = Path(__file__).with_name("compiled_counts.json")
# The mode of the small model: that with all settings. It has one block, one stage and one layer, because each kernel
# more costs time to compile.
MODE = "fewest-kernels"
SMALL = ("MODEL.VIT.DEPTH", "1", "MODEL.VIT.OUT_INDICES", "[0]", "MODEL.SEM_SEG_HEAD.IN_FEATURES", "['block0']")
SMALL += ("MODEL.SEGVIT.NUM_LAYERS", "1")


def compiled(mode: str) -> tuple[str, ...]:
    """The options of a MODEL.COMPILE_MODE, or of "eager"."""
    return () if mode == "eager" else ("MODEL.COMPILE", "True", "MODEL.COMPILE_MODE", mode)


def report_of(model: str, mode: str) -> str:
    """Launches and waits of a full model, by line."""
    # PyTorch compiles this one function while it runs, for which there is no compiler on the device.
    torch.Tensor.erfinv_ = lambda self: self
    count = count_step(partial(trainer_step, model, *compiled(mode)), by_line=True)
    return count.report(f"{model}, {mode}")


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        model, *modes = sys.argv[1:] or [""]
        if model and model != "--write":
            text = "\n".join(report_of(model, mode) for mode in modes or COMPILE_MODES)
        else:
            count = count_step(partial(small_step, "plain, diagonal", "bfloat16", *SMALL, *compiled(MODE)))
            counts = {f"plain, diagonal, {MODE}": count.as_dict()}
            text = json.dumps(counts)
            if model == "--write":
                write_table(TABLE, counts)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
