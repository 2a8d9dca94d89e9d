"""`run_in_processes`: a function of many jobs in worker processes, with a progress bar; `available_cpus`."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from segvit.progress import progress_bar

Job = TypeVar("Job")
Outcome = TypeVar("Outcome")

# Jobs sent to a worker at once: large enough for low overhead, small enough that an interruption loses little.
CHUNK_SIZE = 8


def available_cpus() -> int:
    """The CPUs that this process may use, which taskset, Slurm and containers limit."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_in_processes(
    function: Callable[[Job], Outcome], jobs: Sequence[Job], *, workers: int, title: str, unit: str = "image"
) -> Iterator[Outcome]:
    """Yield the outcome of every job, in order. One worker means this process.

    Raises concurrent.futures.process.BrokenProcessPool if a worker was killed.
    """
    if workers == 1:
        yield from progress_bar(map(function, jobs), total=len(jobs), title=title, unit=unit)
        return
    with ProcessPoolExecutor(workers, initializer=_ignore_interrupts) as pool:
        try:
            # Start the processes before the progress bar: it has a thread, which must not be forked.
            outcomes = pool.map(function, jobs, chunksize=CHUNK_SIZE)
            yield from progress_bar(outcomes, total=len(jobs), title=title, unit=unit)
        finally:
            pool.shutdown(cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C reaches every process: workers finish their chunk, and the parent reports the interruption once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
