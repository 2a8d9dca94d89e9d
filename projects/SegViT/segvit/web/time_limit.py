"""`time_limit`: makes a running model raise TimeoutError; a thread cannot be stopped from outside."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from torch import nn

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


def check_deadline_in(model: nn.Module) -> None:
    """Make every module of the model check the deadline of `time_limit` before its forward pass."""
    for module in model.modules():
        module.register_forward_pre_hook(_check_deadline)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Prepared models that run inside this block, in this thread, raise TimeoutError after `seconds`."""
    token = _DEADLINE.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def _check_deadline(module: nn.Module, inputs: object) -> None:
    deadline = _DEADLINE.get()
    if deadline is not None and time.monotonic() >= deadline:
        raise TimeoutError("the time limit for this image is exceeded")
