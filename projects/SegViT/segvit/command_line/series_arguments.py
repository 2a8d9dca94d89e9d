"""`--seeds` and `--output` of commands that train a series of runs."""

from __future__ import annotations

from pathlib import Path

from segvit.command_line.parser import CommandParser


def add_seeds(parser: CommandParser, *, of: str) -> None:
    """Add --seeds: each of what `of` names is trained with each of them."""
    parser.add_argument(
        "--seeds",
        nargs="+",
        default=[],
        metavar="N",
        help=f"run each {of} with these seeds (default: the config's seed)",
    )


def add_series_folder(parser: CommandParser, default: str) -> None:
    """Add --output, the folder of all runs and of what they are compared in."""
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(default),
        metavar="FOLDER",
        help="the folder for runs and results (default: %(default)s)",
    )
