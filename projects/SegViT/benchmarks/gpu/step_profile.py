"""What a training step of the trainer does on the GPU: kernels, busy share, and where the host waits for it."""

from __future__ import annotations

import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from detectron2.utils.events import EventStorage
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader

from gpu.checks import Check, Values
from gpu.training_speed import BATCH, build_full_model, full_config
from segvit.assembly.model_types import ModelInput
from segvit.d2.solver import build_optimizer
from segvit.engine.non_finite_guard import NonFiniteGuard
from segvit.engine.optimization_step import OptimizationStep
from segvit.engine.precision import make_precision
from training_step import random_input

STEPS = 3


def profile_checks(names: tuple[str, ...] = ("ViT-B 512", "ViT-L 640")) -> list[Check]:
    """A check for each model, in bfloat16."""
    return [Check(name, partial(profile_steps, name)) for name in names]


def profile_steps(name: str) -> Values:
    """Per step: kernels and copies, milliseconds, the share of them in which the GPU is busy, and waits of the host."""
    with EventStorage(0) as storage:
        step = trainer_step(name)

        def run() -> None:
            for _ in range(STEPS):
                step.iter = storage.iter
                step.run_step()
                storage.step()
            torch.cuda.synchronize()

        run()
        start = time.perf_counter()
        run()
        milliseconds = 1000 * (time.perf_counter() - start) / STEPS
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA], acc_events=True) as recorded:
            run()
        with synchronizations() as waits:
            run()
    spans = [
        (event.time_range.start, event.time_range.end)
        for event in recorded.events()
        if event.device_type == DeviceType.CUDA
    ]
    busy = union_length(spans) / 1000 / STEPS
    return {
        "step_ms": round(milliseconds, 2),
        "kernels_and_copies": round(len(spans) / STEPS),
        "busy_ms": round(busy, 2),
        "busy_share": round(busy / milliseconds, 3),
        "waits": round(sum(waits.values()) / STEPS, 1),
        "waits_by_line": {line: round(count / STEPS, 1) for line, count in waits.most_common()},
    }


def trainer_step(name: str, *options: str) -> OptimizationStep:
    """The trainer's step of a model on one batch that is repeated, in bfloat16, with further options of the config."""
    cfg = full_config(name, *options)
    model = build_full_model(cfg).train()
    batch = [random_input(tuple(cfg.MODEL.VIT.IMG_SIZE), 10, seed) for seed in range(BATCH)]
    return OptimizationStep(
        model,
        cast("DataLoader[list[ModelInput]]", [batch] * (5 * STEPS)),
        build_optimizer(cfg, model),
        precision=make_precision("bfloat16", "cuda"),
        guard=NonFiniteGuard(action="stop", folder=tempfile.mkdtemp()),
    )


@contextmanager
def synchronizations() -> Iterator[Counter[str]]:
    """Count, by line of this project or else of a library, where the host waits for the GPU."""
    waits: Counter[str] = Counter()

    def count(message: object, *_: object, **__: object) -> None:
        if "synchroniz" in str(message):
            waits[_line()] += 1

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        before, warnings.showwarning = warnings.showwarning, count
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield waits
        finally:
            torch.cuda.set_sync_debug_mode("default")
            warnings.showwarning = before


def _line() -> str:
    frames = traceback.extract_stack()[:-2]
    own = [frame for frame in frames if "/segvit/" in frame.filename]
    frame = own[-1] if own else frames[-1]
    return f"{frame.filename.split('/segvit/')[-1].split('site-packages/')[-1]}:{frame.lineno}"


def union_length(spans: list[tuple[float, float]]) -> float:
    """The length of the union of intervals."""
    total, end = 0.0, float("-inf")
    for first, last in sorted(spans):
        total += max(0.0, last - max(first, end))
        end = max(end, last)
    return total
