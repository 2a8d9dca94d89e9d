"""Runs jobs in several processes, with a progress bar and the time that remains."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from tqdm import tqdm

JobT = TypeVar("JobT")
OutcomeT = TypeVar("OutcomeT")
# Jobs that go to a process at once: what a job costs in travelling is then small, and an interruption loses little.
CHUNK = 8


def available_cpus() -> int:
    """The CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    function: Callable[[JobT], OutcomeT], jobs: Sequence[JobT], *, workers: int, title: str
) -> Iterator[OutcomeT]:
    """Yield `function(job)` for every job, in order. One worker means this process.

    Raises concurrent.futures.process.BrokenProcessPool where a process is killed.
    """
    if workers == 1:
        yield from tqdm(map(function, jobs), total=len(jobs), desc=title, unit="picture")
        return
    with ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_the_parent) as pool:
        try:
            # The processes start here, before the progress bar does: it has a thread, which forked ones should not see.
            outcomes = pool.map(function, jobs, chunksize=CHUNK)
            yield from tqdm(outcomes, total=len(jobs), desc=title, unit="picture")
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process; the workers finish what they are at, and the parent reports it once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
