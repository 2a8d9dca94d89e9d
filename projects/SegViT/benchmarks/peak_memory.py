"""The most memory that a piece of work takes: of a process on a CPU, of the allocator on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

MIB = 2**20


def peak_memory_mb(build: Callable[[], Callable[[], object]], *, device: torch.device, calls: int = 2) -> float:
    """Peak memory in units of 2**20 bytes of a few calls of what `build` returns, weights and optimiser included.

    Args:
        build: makes the work; on a CPU it runs in a process of its own and must be picklable.
        device: where the work runs.
        calls: the second call of a training step finds the optimiser's states allocated.

    Returns:
        On a CPU, how far the work raised the process's resident memory above that of the bare interpreter (Linux); on a
        GPU, the allocator's peak.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        _repeat(build(), calls)
        return torch.cuda.max_memory_allocated(device) / MIB
    with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_raised_resident_mb, build, calls, torch.get_num_threads()).result()


def _raised_resident_mb(build: Callable[[], Callable[[], object]], calls: int, threads: int) -> float:
    torch.set_num_threads(threads)
    before = _peak_resident_kib()
    _repeat(build(), calls)
    return (_peak_resident_kib() - before) * 1024 / MIB


def _peak_resident_kib() -> int:
    """The kernel's high-water mark of this process alone; `getrusage` would start from its parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0])


def _repeat(work: Callable[[], object], calls: int) -> None:
    for _ in range(calls):
        work()
