"""`config_keys`: errors of the model's core, which name its arguments, with the config keys in their place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segvit.errors import ArgumentError, UserError


@contextmanager
def config_keys(**keys: str) -> Iterator[None]:
    """Around a constructor call in `from_config`: argument name -> config key, such as `name="MODEL.VIT.NAME"`.

    Raises:
        UserError: in place of an `ArgumentError` about one of these arguments, naming the key.
    """
    try:
        yield
    except ArgumentError as error:
        if error.argument not in keys:
            raise
        raise UserError(f"{keys[error.argument]} {error.explanation}") from error
