"""`run_series`: run several trainings one after another and collect results and failures, for comparison tools."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from segvit.errors import UserError

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def run_series(
    runs: Mapping[str, Callable[[], Result]], announce: Callable[[str], None]
) -> tuple[dict[str, Result], dict[str, str]]:
    """Call the runs one after another; a run that fails does not stop the others.

    Args:
        runs: name -> run.
        announce: is called with a line before each run: its position, its name and an estimate of the remaining time.

    Returns:
        name -> result of the successful runs, and name -> error message of the failed ones.
    """
    results: dict[str, Result] = {}
    failures: dict[str, str] = {}
    minutes: list[float] = []
    for position, (name, run) in enumerate(runs.items(), 1):
        announce(f"[{position}/{len(runs)}] {name}{_time_left(minutes, len(runs) - position + 1)}")
        start = time.perf_counter()
        try:
            results[name] = run()
        except Exception as error:
            logger.exception("%s failed", name)
            failures[name] = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        else:
            minutes.append((time.perf_counter() - start) / 60)
    return results, failures


def _time_left(minutes: Sequence[float], num_runs: int) -> str:
    """Estimate from the runs so far; a run of a few seconds was loaded from its folder and does not count."""
    trained = [duration for duration in minutes if duration > 0.1]
    return f", about {num_runs * sum(trained) / len(trained):.0f} minutes left" if trained else ""


def failure_lines(failures: Mapping[str, str]) -> list[str]:
    """The lines of a report about the failed runs; none if no run failed."""
    lines = [f"  {name}: {message}" for name, message in failures.items()]
    return ["", "Failed (log.txt has the traceback):", *lines] if lines else []
