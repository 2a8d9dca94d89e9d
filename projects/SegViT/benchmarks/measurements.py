"""Peak memory of a call or a model, and a machine's peak rate of multiply-accumulates."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from segvit.analysis.timing import time_rounds

MIB = 2**20
# Side of the square matrices whose product measures the peak rate. A CPU needs smaller ones than a GPU to reach it, and
# without units for bfloat16 it would take minutes for large ones.
MATRIX_SIZES = {"cpu": 1024, "cuda": 2048}


def peak_memory_mb(build: Callable[[], Callable[[], object]], *, device: torch.device, calls: int = 2) -> float:
    """Peak memory, in MiB, of building a call and running it, with weights and optimizer states.

    Args:
        build: returns the call. On a CPU it runs in a new process, so it must be picklable.
        device: the device of the call.
        calls: how often it runs; the optimizer states of a training step exist from the second call on.

    Returns:
        On a CPU, the increase of the process's peak resident memory (Linux only); on a GPU, the allocator's peak.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _repeat(build(), calls)
        return torch.cuda.max_memory_allocated(device) / MIB
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_increase_of_resident_mb, build, calls, torch.get_num_threads()).result()


def cuda_inference_memory_mb(model: nn.Module, images: torch.Tensor) -> float:
    """Memory on a GPU, in MiB, of the model's weights and of what one call allocates in addition."""
    torch.cuda.reset_peak_memory_stats(images.device)
    before = torch.cuda.memory_allocated(images.device)
    model(images)
    torch.cuda.synchronize(images.device)
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    return (torch.cuda.max_memory_allocated(images.device) - before + weights) / MIB


def matrix_peak_gmacs(device: torch.device, dtype: torch.dtype, *, rounds: int = 5) -> float:
    """10^9 multiply-accumulates per second in products of large square matrices: the median of some rounds."""
    generator = torch.Generator().manual_seed(0)
    side = MATRIX_SIZES[device.type]
    left, right = (torch.randn(side, side, generator=generator).to(device, dtype) for _ in range(2))
    seconds = time_rounds({"matrices": lambda: left @ right}, rounds=rounds, device=device)
    return side**3 / 1e9 / statistics.median(seconds["matrices"])


def _increase_of_resident_mb(build: Callable[[], Callable[[], object]], calls: int, threads: int) -> float:
    torch.set_num_threads(threads)
    before = _peak_resident_kib()
    _repeat(build(), calls)
    return (_peak_resident_kib() - before) * 1024 / MIB


def _peak_resident_kib() -> int:
    """The kernel's high-water mark of this process; `getrusage` would include that of its parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def _repeat(call: Callable[[], object], times: int) -> None:
    for _ in range(times):
        call()
