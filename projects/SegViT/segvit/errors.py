"""Errors that a user can fix: commands print the message on one line, without a traceback (see `cli_errors`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

BACKQUOTED_NAME = re.compile(r"`(\w+)`")
# Begins a remedy in messages: KEY VALUE pairs follow.
END_OF_COMMAND = "end the command with "


class UserError(ValueError):
    """Bad input: a file, a config key, an option or an argument. The message names it and says how to fix it."""


class ArgumentError(UserError):
    """A wrong argument of a function or constructor in `segvit.modeling`, which knows no config keys.

    The message is the argument's name followed by `explanation`. The explanation may name other arguments in
    backquotes. `renamed_arguments` puts config keys, or other names that the caller knows, in the place of all of them.

    Attributes:
        argument: the argument's name, such as "name" or "out_indices".
        explanation: the rest of the message, such as "'vit_bse' is not a timm model".
    """

    def __init__(self, argument: str, explanation: str) -> None:
        super().__init__(f"{argument} {explanation}")
        self.argument = argument
        self.explanation = explanation


def listed(items: Sequence[object], most: int = 10) -> str:
    """The first items, for a message: "a, b and 3 more"."""
    more = len(items) - most
    return ", ".join(map(str, items[:most])) + (f" and {more} more" if more > 0 else "")


@contextmanager
def renamed_arguments(**names: str) -> Iterator[None]:
    """Wrap a call whose arguments have other names for the user: `with renamed_arguments(name="MODEL.VIT.NAME", ...)`.

    Args:
        **names: where each argument comes from: a config key, or an argument of the caller.

    Raises:
        ArgumentError: one about these arguments, with the names that the user knows. An error about any other
            argument is not touched.
    """
    try:
        yield
    except ArgumentError as error:
        if error.argument not in names:
            raise
        explanation = BACKQUOTED_NAME.sub(lambda name: names.get(name[1], name[0]), error.explanation)
        raise ArgumentError(names[error.argument], explanation) from error
