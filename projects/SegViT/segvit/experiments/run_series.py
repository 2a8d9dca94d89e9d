"""Several training runs after each other, for the tools that compare them."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from detectron2.utils.logger import setup_logger

logger = logging.getLogger(__name__)
Result = TypeVar("Result")


def run_series(
    runs: Mapping[str, Callable[[], Result]], announce: Callable[[str], None]
) -> tuple[dict[str, Result], dict[str, str]]:
    """Call one after the other. Where one fails, the others' results are worth having.

    Args:
        runs: name -> run.
        announce: takes a line ahead of each run: its position, its name, and about how long all that is left takes.

    Returns:
        The results and, of the runs that failed, what went wrong, both by name.
    """
    results: dict[str, Result] = {}
    failures: dict[str, str] = {}
    minutes: list[float] = []
    for position, (name, run) in enumerate(runs.items(), 1):
        announce(f"[{position}/{len(runs)}] {name}{_time_left(minutes, len(runs) - position + 1)}")
        start = time.perf_counter()
        try:
            results[name] = run()
        except Exception as error:  # whatever it is
            logger.exception("%s failed", name)
            failures[name] = f"{type(error).__name__}: {error}"
        else:
            minutes.append((time.perf_counter() - start) / 60)
    return results, failures


def _time_left(minutes: Sequence[float], num_runs: int) -> str:
    """Earlier runs that took seconds were read from their folders and tell nothing."""
    trained = [duration for duration in minutes if duration > 0.1]
    return f", about {num_runs * sum(trained) / len(trained):.0f} minutes left" if trained else ""


def failure_lines(failures: Mapping[str, str]) -> list[str]:
    """What a report says of the runs without a result."""
    lines = [f"  {name}: {message}" for name, message in failures.items()]
    return ["", "Failed (log.txt has the traceback):", *lines] if lines else []


def log_to_file(folder: Path) -> None:
    """Everything goes to log.txt; the terminal shows errors, the progress bar and the result."""
    for name in ("detectron2", "fvcore", "segvit"):
        for handler in setup_logger(str(folder), name=name).handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
                handler.setLevel(logging.CRITICAL)


def split_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Names, and the `KEY VALUE` overrides that were given right behind them and read like further names."""
    keys = [index for index, word in enumerate(words) if re.match(r"[A-Z]\w*(\.\w+|$)", word)]
    end = keys[0] if keys else len(words)
    return list(words[:end]), list(words[end:])
