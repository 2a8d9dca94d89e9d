"""A model that gives up when its time is over, where a thread could not be stopped from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


def watch(model: nn.Module) -> None:
    """From now on every module of the model looks at the clock before it starts."""
    for module in model.modules():
        module.register_forward_pre_hook(_look_at_the_clock)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Watched models that run in this block, in this thread, raise TimeoutError once the seconds are over."""
    token = _DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def _look_at_the_clock(module: nn.Module, inputs: object) -> None:
    deadline = _DEADLINE.get()
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeoutError("the time for this picture is over")
