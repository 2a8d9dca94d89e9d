"""Errors that users can mend: commands print their message as one line, without a traceback (see `cli_errors`)."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input: a file, a config key, an option or an argument. The message names it and the remedy."""


class ArgumentError(UserError):
    """An argument of the model's core that does not fit; its message begins with the argument's name.

    Callers that take the argument from elsewhere (a config key, an option) put their own name in its place: see
    `segvit.config.keys.config_keys`.

    Attributes:
        argument: its name.
        explanation: the message behind the name.
    """

    def __init__(self, argument: str, explanation: str) -> None:
        super().__init__(f"{argument} {explanation}")
        self.argument = argument
        self.explanation = explanation
