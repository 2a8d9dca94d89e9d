"""`time_rounds`: interleaved timing of several models, each once per round, in a new order; and the machine's name.

On a shared or throttling machine two separate runs cannot be compared; here a slow round is slow for all models.
"""

from __future__ import annotations

import platform
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import torch

from segvit.errors import UserError
from segvit.progress import progress_bar

# Of fewer values, the spread says nothing.
LEAST_VALUES = 3


class TimingSummary(TypedDict):
    """`ratio` is the median over that of the first model, `spread` the interquartile range over the median.

    The spread of fewer than LEAST_VALUES values is None.
    """

    median_ms: float
    spread: float | None
    ratio: float


def clock_of(*, cpu_time: bool) -> Callable[[], float]:
    """The CPU time of this process alone, for a machine that is shared, or the wall clock; in seconds."""
    return time.process_time if cpu_time else time.perf_counter


def time_rounds(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int = 1,
    device: torch.device | str = "cpu",
    seed: int = 0,
    progress: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, list[float]]:
    """Time each call once per round, in a random order.

    Args:
        calls: name -> function without arguments; its result is dropped before the next call.
        rounds: timed rounds, at least 1.
        warmup: untimed rounds before them.
        device: a CUDA device is synchronized before and after each call.
        seed: of the order.
        progress: show a progress bar on stderr.
        clock: returns seconds; see `clock_of`.

    Returns:
        Name -> seconds of each round, in the order of `calls`.

    Raises:
        UserError: for no calls or fewer than one round.
    """
    if not calls or rounds < 1:
        raise UserError(f"timing needs at least one call and one round, not {len(calls)} and {rounds}")
    order = list(calls)
    shuffler = random.Random(seed)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for i in progress_bar(range(warmup + rounds), title="timing", unit="round", shown=progress):
        shuffler.shuffle(order)
        for name in order:
            elapsed = _time_once(calls[name], torch.device(device), clock)
            if i >= warmup:
                seconds[name].append(elapsed)
    return seconds


def summarize(seconds: Mapping[str, Sequence[float]]) -> dict[str, TimingSummary]:
    """Median in milliseconds, spread, and ratio to the median of the first name, of the seconds of `time_rounds`."""
    first = statistics.median(next(iter(seconds.values())))
    return {name: _summary(values, first) for name, values in seconds.items()}


def _summary(values: Sequence[float], reference: float) -> TimingSummary:
    median, spread = statistics.median(values), None
    if len(values) >= LEAST_VALUES:
        first, _, third = statistics.quantiles(values, n=4, method="inclusive")
        spread = (third - first) / median
    return TimingSummary(median_ms=1000 * median, spread=spread, ratio=median / reference)


def spread_text(timing: TimingSummary) -> str:
    """The spread in per cent; "-" for none."""
    return "-" if timing["spread"] is None else f"{timing['spread']:.0%}"


def _time_once(call: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    _synchronize(device)
    start = clock()
    call()
    _synchronize(device)
    return clock() - start


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def machine_name(device: torch.device) -> str:
    """The name of the GPU or processor and PyTorch's version."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, torch {torch.__version__}"
