"""`config_keys`: turn errors that name arguments of `segvit.modeling` into errors that name config keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from segvit.errors import ArgumentError, UserError

BACKQUOTED_NAME = re.compile(r"`(\w+)`")


@contextmanager
def config_keys(**keys: str) -> Iterator[None]:
    """Wrap a constructor call in `from_config`: `with config_keys(name="MODEL.VIT.NAME", ...)`.

    Args:
        **keys: the config key that each argument comes from.

    Raises:
        UserError: for an `ArgumentError` about one of these arguments, with keys in place of the arguments' names.
            An error about any other argument is not touched.
    """
    try:
        yield
    except ArgumentError as error:
        if error.argument not in keys:
            raise
        explanation = BACKQUOTED_NAME.sub(lambda name: keys.get(name[1], name[0]), error.explanation)
        raise UserError(f"{keys[error.argument]} {explanation}") from error
