"""Checks in parts with time limits: each is isolated, and what it found is reported at once."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch

Values = dict[str, Any]


class OutOfTime(BaseException):
    """The time of a part is over; no `except Exception` of a library, such as a compiler, hides it."""


@dataclass(frozen=True)
class Check:
    """One thing to show or to measure.

    Attributes:
        name: in the report.
        work: returns the figures; where they show that something is wrong, "ok" is False among them.
    """

    name: str
    work: Callable[[], Values]


@dataclass(frozen=True)
class Part:
    """Checks that share a time limit.

    Attributes:
        name: in the report, and of `--parts`.
        seconds: of all its checks; what earlier parts left is added.
        build: makes the checks, which run in this order.
    """

    name: str
    seconds: float
    build: Callable[[], Sequence[Check]]


def run_parts(parts: Sequence[Part], *, record: Callable[[str, str, Values], None]) -> None:
    """Run all checks and pass (part, check, figures) to `record` after each of them.

    The figures of a check that failed are its "error"; one whose part had no time left is "skipped".
    """
    start = time.perf_counter()
    total = sum(part.seconds for part in parts)
    end = start
    for part in parts:
        end += part.seconds
        checks = _build(part)
        for index, check in enumerate(checks, 1):
            values = _run(check, seconds=end - time.perf_counter())
            elapsed = time.perf_counter() - start
            print(
                f"[{elapsed:4.0f} s of at most {total:.0f}] {part.name} {index}/{len(checks)}, {check.name}: "
                + _one_line(values),
                flush=True,
            )
            record(part.name, check.name, values)


def _build(part: Part) -> Sequence[Check]:
    """The part's checks; where it lacks a library, one check that fails with the reason."""
    try:
        return part.build()
    except Exception as error:
        return [Check("start", partial(_raise, error))]


def _raise(error: Exception) -> Values:
    raise error


def _run(check: Check, *, seconds: float) -> Values:
    if seconds <= 0:
        return {"ok": False, "skipped": "the part's time is over"}
    start = time.perf_counter()
    try:
        with _time_limit(seconds):
            values = {"ok": True, **check.work()}
    except OutOfTime:
        values = {"ok": False, "skipped": f"not done within the {seconds:.0f} s that the part had left"}
    except Exception as error:
        values = {"ok": False, "error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return {**values, "seconds": round(time.perf_counter() - start, 1)}


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime inside when the time is over."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _one_line(values: Values) -> str:
    if "error" in values:
        return f"FAILED, {str(values['error'])[:300]}"
    if "skipped" in values:
        return f"SKIPPED, {values['skipped']}"
    shown = [f"{key} {value}" for key, value in values.items() if key != "ok" and len(str(value)) < 60]
    return ("ok, " if values["ok"] else "NOT OK, ") + ", ".join(shown)
