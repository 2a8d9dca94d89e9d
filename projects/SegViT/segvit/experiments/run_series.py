"""`run_series`: run several trainings one after another and collect results and failures; `write_report` of them."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from segvit.errors import UserError
from segvit.output_files import atomic_write_text

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


def write_report(report: Path, lines: Sequence[str], content: Mapping[str, object], failures: Mapping[str, str]) -> str:
    """Write lines and content, both with the failed runs, as text and JSON. Returns the text, with the files' names.

    Args:
        report: the files without their endings; a plot may stand beside them, REPORT.png.
        lines, content: for text and JSON.
        failures: name -> error message.
    """
    failed = [f"  {name}: {message}" for name, message in failures.items()]
    text = "\n".join([*lines, *(["", "Failed (log.txt has the traceback):", *failed] if failed else [])])
    atomic_write_text(report.with_suffix(".txt"), text + "\n")
    atomic_write_text(report.with_suffix(".json"), json.dumps({**content, "failures": failures}, indent=2) + "\n")
    endings = [ending for ending in ("txt", "json", "png") if report.with_suffix(f".{ending}").is_file()]
    return f"\n{text}\n\n  {report}.{{{','.join(endings)}}}"
