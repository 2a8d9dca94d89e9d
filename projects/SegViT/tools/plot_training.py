"""Draw training loss and validation mIoU of one or more runs: `plot_training.py RUN_FOLDER ... --output curve.png`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segvit.cli_errors import user_errors
from segvit.command_line.parser import CommandParser
from segvit.visualization import draw_training_curves


def build_parser() -> CommandParser:
    """The arguments of the command."""
    parser = CommandParser(description=__doc__)
    parser.add_argument("run_folders", nargs="+", type=Path, metavar="RUN_FOLDER", help="the OUTPUT_DIR of each run")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG", help="the file to write")
    return parser


@user_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Draw the curves and print the path of the PNG."""
    args = build_parser().parse_args(argv)
    draw_training_curves(args.run_folders, args.output)
    print(args.output)


if __name__ == "__main__":
    main()
