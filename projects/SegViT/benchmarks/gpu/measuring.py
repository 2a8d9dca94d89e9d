"""Number formats, times by CUDA events, and peak memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

# What a step or an inference computes in; "tf32" and "float32" are float32 with and without tensor cores.
FORMATS = ("float32", "tf32", "bfloat16")


@contextmanager
def number_format(name: str) -> Iterator[None]:
    """Inside, float32 products are exact or TF32 as one of `FORMATS` says, and "bfloat16" is autocast."""
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = name != "float32"
    try:
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=name == "bfloat16"):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


def exact_float32() -> AbstractContextManager[None]:
    """float32 without TF32, as a context."""
    return number_format("float32")


def median_ms(call: Callable[[], object], *, warmup: int = 3, rounds: int = 10, seconds: float = 3.0) -> float:
    """Median milliseconds of a call between CUDA events.

    Args:
        seconds: no new round starts later than that, but three rounds are always timed.
    """
    for _ in range(warmup):
        call()
    torch.cuda.synchronize()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < rounds and (len(times) < 3 or time.perf_counter() < end):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        call()
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last))
    return statistics.median(times)


def peak_gib(call: Callable[[], object]) -> float:
    """Most memory (GiB) that PyTorch has allocated during a call, with all that was there before."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() / 2**30
