"""Counts launches and waits of a training step of every kind of model, in small size, on the null device.

    python tests/null_cuda/null_device.py tests/null_cuda/training_steps.py [KIND | --write]

prints them as JSON by kind and number format; of one kind, by line; or writes them into training_counts.json.
"""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from count_tables import write_table
from gpu.agreement import training_image
from gpu.kinds import KINDS, NUM_CLASSES, small_config
from null_gpu import Count, Values
from segvit.config.continual_step import continual_step
from segvit.d2.solver import build_optimizer
from segvit.engine.non_finite_guard import NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep
from segvit.engine.precision import make_precision

TABLE = Path(__file__).with_name("training_counts.json")
FORMATS = ("float16", "bfloat16")
# Steps before the one that is counted: the first makes the optimizer's state.
WARMUP = 2


def small_step(kind: str, precision: str, *options: str) -> OptimizationStep:
    """The trainer's step of a kind, with options of the config, on one batch of two images that is repeated."""
    torch.manual_seed(0)
    cfg = small_config(kind, *options)
    cfg.defrost()
    cfg.MODEL.DEVICE = "cuda"
    model = build_model(cfg).train()
    step = continual_step(cfg)
    classes = step.new_classes if step else range(NUM_CLASSES)
    size = tuple(cfg.MODEL.VIT.IMG_SIZE)
    batch = [training_image(size, classes, seed=0), training_image((size[0] - 20, size[1] - 9), classes, seed=1)]
    return OptimizationStep(
        model,
        [batch] * (WARMUP + 1),
        build_optimizer(cfg, model),
        precision=make_precision(precision, "cuda"),
        guard=NonFiniteGuard(action="stop", folder=tempfile.mkdtemp()),
    )


def count_step(make_step: Callable[[], OptimizationStep], *, by_line: bool = False) -> Count:
    """What the third step asks of the device."""
    # Of the reads, those of Shrunk++ are numbers of tokens, of which there are 64 in an image.
    with EventStorage(0) as storage, Values(integers=40):
        step = make_step()
        for step.iter in range(WARMUP):
            step.run_step()
            storage.step()
        with Count(by_line=by_line) as count:
            step.iter = WARMUP
            step.run_step()
    return count


def count_all() -> dict[str, dict[str, Any]]:
    """The counts of every kind in every format, by "kind, format"."""
    return {
        f"{kind}, {name}": count_step(partial(small_step, kind, name)).as_dict() for kind in KINDS for name in FORMATS
    }


def main() -> None:
    with contextlib.redirect_stdout(sys.stderr):
        argument = sys.argv[1] if len(sys.argv) > 1 else ""
        if argument in KINDS:
            counted = [(name, count_step(partial(small_step, argument, name), by_line=True)) for name in FORMATS]
            text = "\n".join(count.report(f"{argument}, {name}") for name, count in counted)
        else:
            counts = count_all()
            text = json.dumps(counts)
            if argument == "--write":
                write_table(TABLE, counts)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
