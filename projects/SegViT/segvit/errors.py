"""Errors that a user can fix: commands print the message on one line, without a traceback (see `cli_errors`)."""

from __future__ import annotations

# Begins a remedy in messages: KEY VALUE pairs follow.
END_OF_COMMAND = "end the command with "


class UserError(ValueError):
    """Bad input: a file, a config key, an option or an argument. The message names it and says how to fix it."""


class ArgumentError(UserError):
    """A wrong argument of a function or constructor in `segvit.modeling`, which knows no config keys.

    The message is the argument's name followed by `explanation`. The explanation may name other arguments in
    backquotes. Where arguments come from a config, `segvit.config.keys.config_keys` replaces every name by its key.

    Attributes:
        argument: the argument's name, such as "name" or "out_indices".
        explanation: the rest of the message, such as "'vit_bse' is not a timm model".
    """

    def __init__(self, argument: str, explanation: str) -> None:
        super().__init__(f"{argument} {explanation}")
        self.argument = argument
        self.explanation = explanation
