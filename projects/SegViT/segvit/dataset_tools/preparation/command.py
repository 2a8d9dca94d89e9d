"""The command line that the scripts `datasets/prepare_*.py` share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from segvit.cli_errors import INTERRUPTED, describe, positive, user_errors
from segvit.dataset_tools.preparation.damaged_file import DamagedFileError
from segvit.dataset_tools.preparation.distribution import Distribution
from segvit.dataset_tools.preparation.prepare import prepare
from segvit.dataset_tools.preparation.report import Report
from segvit.dataset_tools.preparation.workers import available_cpus
from segvit.datasets.registration import datasets_root
from segvit.errors import UserError

GO_ON = "what is done is kept: the same command goes on from there"


def run_command(
    find: Callable[[argparse.Namespace], Distribution],
    *,
    parser: argparse.ArgumentParser,
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse the arguments (by default the command line's), prepare what `find` finds, and print the report.

    Returns the exit code: 0 where the data set is complete, or whole as far as it goes with --partial, else 1; 130
    after an interruption. Raises SystemExit where it cannot go on (see `user_errors`).
    """
    options = _with_shared_options(parser).parse_args(arguments)
    with user_errors():
        try:
            report = _prepare(find, options)
        except KeyboardInterrupt:
            return _fail(f"interrupted; {GO_ON}", INTERRUPTED)
    sys.stdout.write(report.text())
    if report.is_complete(allow_missing=options.partial):
        return 0
    return _fail("\nThe data set is not complete.", 1)


def _prepare(find: Callable[[argparse.Namespace], Distribution], options: argparse.Namespace) -> Report:
    """Prepare, and write what went wrong. Raises UserError where that cannot go on."""
    try:
        report = prepare(find(options), workers=options.workers, force=options.force)
        report.write_problems()
    except DamagedFileError as error:
        raise UserError(f"{error.path}: {error.what}") from error
    except BrokenProcessPool as error:
        message = f"a worker process was killed, perhaps for lack of memory; {GO_ON}, --workers 1 needs least"
        raise UserError(message) from error
    except OSError as error:
        raise UserError(f"{describe(error)}; {GO_ON}") from error
    return report


def _with_shared_options(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--root", type=Path, default=datasets_root(), help="default: $DETECTRON2_DATASETS or datasets")
    parser.add_argument("--workers", type=positive, default=available_cpus(), help="processes; default: %(default)s")
    parser.add_argument("--force", action="store_true", help="make every file anew, also those that are up to date")
    parser.add_argument(
        "--partial", action="store_true", help="prepare what there is; what is missing is listed but no error"
    )
    return parser


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"{message}\n")
    return code
