"""`configurable`: constructors that take a config or explicit arguments, as Detectron2's decorator of that name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any


def configurable(constructor: Callable[..., None]) -> Callable[..., None]:
    """Decorate the `__init__` of a class with a `from_config(cls, cfg, ...)` that returns its arguments.

    `Class(cfg, ..., name=value)` passes what `from_config` takes on to it, and the other keywords, which replace its
    results, to the constructor. Detectron2's decorator does the same; this one does not need it to be installed.
    """

    @wraps(constructor)
    def wrapped(self: Any, *args: Any, **keywords: Any) -> None:
        if not (args and isinstance(args[0], Mapping)):
            constructor(self, *args, **keywords)
            return
        from_config = type(self).from_config
        taken = inspect.signature(from_config).parameters
        given = {name: keywords.pop(name) for name in list(keywords) if name in taken}
        constructor(self, **{**from_config(*args, **given), **keywords})

    return wrapped
