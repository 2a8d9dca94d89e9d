"""Command-line error handling: user errors become one line on stderr and exit code 2.

What a user can mend is raised as a `UserError` or an OSError, whose message names the file or key and the remedy. Any
other error is a defect of ours and keeps its traceback.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvit.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130
# Set it to anything to see the traceback of every error.
TRACEBACK_VARIABLE = "SEGVIT_TRACEBACK"

SPACE = "free some space, or write to another disk"
RIGHTS = "choose a place that you may read and write"
REMEDIES = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: SPACE,
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EROFS: RIGHTS,
    errno.ENOENT: "bring it back, or correct the path",
    errno.ENOTDIR: "choose a place below a folder",
}

# What torch wraps around an error of a process that loads data: the traceback there, then the type and its message.
WORKER_ERROR = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n.*\n(?:\w+\.)*\w+: (.*)", re.DOTALL)


# It logs every error with its traceback before it lets it pass.
TRAINING_LOOP = logging.getLogger("detectron2.engine.train_loop")


@contextmanager
def user_errors() -> Iterator[None]:
    """Around a command, or as its decorator: explained errors become a line on the error stream and SystemExit(2).

    An interruption from the keyboard becomes SystemExit(130).
    """
    TRAINING_LOOP.addFilter(_shorten)
    try:
        yield
    except (UserError, OSError) as error:
        if not is_explained(error):
            raise
        sys.stderr.write(f"{Path(sys.argv[0]).name}: error: {describe(error)}\n")
        raise SystemExit(USER_ERROR) from error
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: interrupted\n")
        raise SystemExit(INTERRUPTED) from error
    finally:
        TRAINING_LOOP.removeFilter(_shorten)


def positive(text: str) -> int:
    """A whole number above 0, as argparse wants to be told the type of an option."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def from_zero(text: str) -> int:
    """A whole number that is not negative, likewise."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def is_explained(error: BaseException | None) -> bool:
    """Whether the message was written for users: by this project, or by the operating system."""
    return isinstance(error, (UserError, OSError)) and not os.environ.get(TRACEBACK_VARIABLE)


def describe(error: BaseException) -> str:
    """The message; of an error of the operating system with the file before it and the remedy behind it."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        return f"{place}{error.strerror}{remedy}"
    found = WORKER_ERROR.match(str(error))
    return found[1].strip() if found else str(error)


def _shorten(record: logging.LogRecord) -> bool:
    """A filter of log records that leaves the message of an explained error, and drops its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and is_explained(error):
        record.msg, record.exc_info = f"{record.msg} {describe(error)}", None
    return True
