"""The command line shared by the scripts `datasets/prepare_*.py`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from segvit.cli_errors import INTERRUPTED, describe, positive, user_errors
from segvit.dataset_tools.parallel import available_cpus
from segvit.dataset_tools.preparation.distribution import Distribution
from segvit.dataset_tools.preparation.prepare import prepare
from segvit.dataset_tools.preparation.report import Report
from segvit.datasets.registration import datasets_root
from segvit.errors import UserError

RESUME = "finished files are kept: run the same command again to continue"


def run_command(
    find: Callable[[argparse.Namespace], Distribution],
    *,
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the arguments (default: those of the command line), prepare the distribution, and print the report.

    Returns the exit code: 0 if the dataset is complete (with --partial: if nothing is wrong), else 1; 130 after an
    interruption. Raises SystemExit after a user error (see `user_errors`).
    """
    options = _with_shared_options(parser).parse_args(arguments)
    with user_errors():
        try:
            report = _prepare(find, options)
        except KeyboardInterrupt:
            return _fail(f"interrupted; {RESUME}", INTERRUPTED)
    sys.stdout.write(report.text())
    if report.is_complete(allow_missing=options.partial):
        return 0
    return _fail("\nThe dataset is not complete.", 1)


def _prepare(find: Callable[[argparse.Namespace], Distribution], options: argparse.Namespace) -> Report:
    """Prepare, and write the list of problems. Raises UserError if the preparation fails."""
    try:
        report = prepare(find(options), workers=options.workers, force=options.force)
        report.write_problems()
    except BrokenProcessPool as error:
        message = f"a worker process was killed, perhaps out of memory; {RESUME}; --workers 1 needs the least memory"
        raise UserError(message) from error
    except OSError as error:
        raise UserError(f"{describe(error)}; {RESUME}") from error
    return report


def _with_shared_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument(
        "--root",
        type=Path,
        default=datasets_root(),
        metavar="FOLDER",
        help="folder of all datasets (default: $DETECTRON2_DATASETS or datasets)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        default=available_cpus(),
        metavar="N",
        help="processes that convert (default: %(default)s)",
    )
    parser.add_argument(
        "--force", action="store_true", help="make all files again, even up-to-date ones (default: what is new)"
    )
    parser.add_argument(
        "--partial",
        action="store_true",
        help="accept an incomplete dataset: missing files are listed, but are no error (default: an error)",
    )
    return parser


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
