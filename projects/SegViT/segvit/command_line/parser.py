"""`CommandParser`: the argument parser of every command, with KEY VALUE pairs at the end and former spellings."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# A config key on a command line: a group of keys and more names, or a key of its own. `KEY=VALUE` is an error later.
KEY = re.compile(
    r"(MODEL|INPUT|DATASETS|DATALOADER|SOLVER|TEST|GLOBAL|TRACKING)(\.\w+)+(=.*)?"
    r"|(VERSION|OUTPUT_DIR|SEED|CUDNN_BENCHMARK|VIS_PERIOD)(=.*)?"
)
# Values that ask for what happens anyway, where a key has no effect.
HARMLESS = ("cpu", "False")
# The former option in front of the pairs.
FORMER_OVERRIDES = "--opts"


class CommandParser(argparse.ArgumentParser):
    """An `ArgumentParser` that keeps the lines of the description, takes overrides, and knows former spellings.

    Args:
        description: printed by --help as it is.
        former: {former option: option}; a former one works with a warning.
    """

    def __init__(self, *, description: str | None = None, former: Mapping[str, str] | None = None, **more: Any) -> None:
        super().__init__(description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **more)
        self._former = dict(former or {})
        self._takes_overrides = False
        self._unread: dict[str, str] = {}

    def add_overrides(
        self,
        of: str = "config overrides",
        *,
        trains: bool = False,
        device: str = "",
        unread: Mapping[str, str] | None = None,
    ) -> None:
        """Take KEY VALUE pairs at the end of the command, as `opts`, also after options with several values.

        Args:
            of: what they are, for --help.
            trains: the command trains in OUTPUT_DIR or tests at several scales; these keys are refused by others.
            device: why MODEL.DEVICE has no effect; the key is then refused, unless it is cpu.
            unread: {key: why it has no effect}, of more keys that are refused.
        """
        # No positional argument: one of argparse's would take the options that follow another positional.
        self.set_defaults(opts=[])
        self.epilog = f"KEY VALUE ...  {of}, after all options; docs/configuration.md lists the keys"
        self._takes_overrides = True
        if not trains:
            self._unread["OUTPUT_DIR"] = "it is the folder of train_net.py and train_continual.py"
            self._unread["TEST.AUG.ENABLED"] = (
                "images are segmented at one scale, whole or by windows; train_net.py --eval-only tests several"
            )
        if device:
            self._unread["MODEL.DEVICE"] = device
        self._unread |= unread or {}

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Called by `parse_args` and for subcommands."""
        words = [self._current(word) for word in (sys.argv[1:] if args is None else args)]
        pairs: list[str] = []
        if self._takes_overrides:
            words, pairs = self._split(words)
        parsed, unknown = super().parse_known_args(words, namespace)
        if not self._takes_overrides:
            return parsed, unknown
        if any(word.startswith("-") for word in unknown):
            return parsed, unknown
        parsed.opts = [*unknown, *pairs]
        for key, value in zip(parsed.opts[::2], parsed.opts[1::2]):
            if key in self._unread and value not in HARMLESS:
                self.error(f"{key} {value} would have no effect: {self._unread[key]}")
        return parsed, []

    def _current(self, word: str) -> str:
        option, separator, value = word.partition("=")
        if option not in self._former:
            return word
        warn(f"{option} is now {self._former[option]}")
        return f"{self._former[option]}{separator}{value}"

    def _split(self, words: list[str]) -> tuple[list[str], list[str]]:
        """Split the pairs off; argparse would take them as further values of an option that has several."""
        if FORMER_OVERRIDES in words:
            position = words.index(FORMER_OVERRIDES)
            warn(f"{FORMER_OVERRIDES} is not needed any more: leave it out, KEY VALUE pairs end the command")
            words, pairs = words[:position], words[position + 1 :]
        else:
            position = next((index for index, word in enumerate(words) if is_key(word)), len(words))
            words, pairs = words[:position], words[position:]
        late = [word for word in pairs if word in self._option_string_actions]
        if late and "--help" not in late:
            self.error(f"{', '.join(late)} must come before the KEY VALUE pairs, in front of {pairs[0]}")
        return words, pairs


def is_key(word: str) -> bool:
    """Whether a word of a command line is a config key, and not the name of a file."""
    return KEY.fullmatch(word) is not None and not Path(word).exists()


def warn(message: str) -> None:
    """Print a line about a former spelling."""
    sys.stderr.write(f"{Path(sys.argv[0]).name}: warning: {message}\n")


def add_output(parser: CommandParser, what: str, *, former: str, metavar: str = "FOLDER") -> None:
    """Add --output, and the positional argument that gave it formerly; `parse_with_output` reads both."""
    parser.add_argument("--output", type=Path, metavar=metavar, help=f"{what} (needed)")
    parser.add_argument(former, nargs="?", type=Path, help=argparse.SUPPRESS)


def parse_with_output(
    parser: CommandParser, argv: Sequence[str] | None, *, former: str, warns: bool = True
) -> argparse.Namespace:
    """The arguments of a parser with `add_output`; one of the two must be given. `warns`: of the positional one."""
    args = parser.parse_args(argv)
    positional = vars(args).pop(former)
    if (positional is None) == (args.output is None):
        parser.error("name --output" if positional is None else f"--output is given, and {positional}, too")
    if positional is not None:
        if warns:
            warn(f"write --output {positional}")
        args.output = positional
    return args
