"""`user_errors`: on the command line, an error of the user becomes one line on stderr and exit code 2.

A `UserError` or OSError is for the user: its message names the file or key and a remedy. Any other error is a bug and
keeps its traceback.
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
# An environment variable: if it is set, every error keeps its traceback.
TRACEBACK_VARIABLE = "SEGVIT_TRACEBACK"

SPACE = "free some space, or write to another disk"
PERMISSION = "choose a path with read and write permission"
REMEDIES = {
    errno.ENOSPC: SPACE,
    errno.EDQUOT: SPACE,
    errno.EFBIG: SPACE,
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EROFS: PERMISSION,
    errno.ENOENT: "restore it, or correct the path",
    errno.ENOTDIR: "choose a path inside a folder",
}

# An error in a DataLoader worker, as torch raises it again: the worker's traceback, then the error's type and message.
WORKER_ERROR = re.compile(r"Caught \w+ in DataLoader worker process \d+\.\n.*\n(?:\w+\.)*\w+: (.*)", re.DOTALL)

# What torch raises, anywhere in the main process, when a process that loads data dies by a signal.
KILLED_WORKER = re.compile(
    r"DataLoader worker \(pid\(?s?\)? [\d, ]+\) (is killed by signal: (\w+)|exited unexpectedly)"
)
KILLED_WORKER_REMEDY = (
    "a process that loads data was killed{signal}: most likely the memory was exhausted. Lower DATALOADER.NUM_WORKERS "
    "or SOLVER.IMS_PER_BATCH, or give the job more memory (in a container also shared memory, --shm-size)"
)

# Detectron2's training loop logs every error with its traceback before it raises it again.
TRAINING_LOOP = logging.getLogger("detectron2.engine.train_loop")


@contextmanager
def user_errors() -> Iterator[None]:
    """Context manager and decorator of a command's main function.

    Raises:
        SystemExit: 2 after a user error, with one line on stderr; 130 after Ctrl-C.
    """
    TRAINING_LOOP.addFilter(_drop_traceback)
    try:
        yield
    except (UserError, OSError, RuntimeError) as error:
        if not is_explained(error):
            raise
        sys.stderr.write(f"{Path(sys.argv[0]).name}: error: {describe(error)}\n")
        raise SystemExit(USER_ERROR) from error
    except KeyboardInterrupt as error:
        sys.stderr.write(f"{Path(sys.argv[0]).name}: interrupted\n")
        raise SystemExit(INTERRUPTED) from error
    finally:
        TRAINING_LOOP.removeFilter(_drop_traceback)


def local_path(text: str) -> Path:
    """The argparse `type` of files and folders; a `Path` of a URL has another text, and OpenCV would still open it."""
    if "://" in text:
        raise argparse.ArgumentTypeError(f"{text}: URLs are not read: download it first, and name the file")
    return Path(text)


def share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to 1")
    return value


def positive(text: str) -> int:
    """The argparse `type` of positive integers."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not a positive number")
    return value


def from_zero(text: str) -> int:
    """The argparse `type` of integers from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{value} is negative")
    return value


def is_explained(error: BaseException | None) -> bool:
    """Whether to show only the message: it is a user error, and SEGVIT_TRACEBACK is not set."""
    is_for_users = isinstance(error, (UserError, OSError)) or _killed_worker(error) is not None
    return is_for_users and not os.environ.get(TRACEBACK_VARIABLE)


def describe(error: BaseException) -> str:
    """The message of an error. An OSError gets its file in front and a remedy at the end."""
    if isinstance(error, OSError) and error.errno and error.strerror:
        file = f"{error.filename}: " if error.filename is not None else ""
        remedy = f"; {REMEDIES[error.errno]}" if error.errno in REMEDIES else ""
        return f"{file}{error.strerror}{remedy}"
    killed = _killed_worker(error)
    if killed is not None:
        return KILLED_WORKER_REMEDY.format(signal=f" by signal {killed[2]}" if killed[2] else "")
    worker_error = WORKER_ERROR.match(str(error))
    return worker_error[1].strip() if worker_error else str(error)


def _killed_worker(error: BaseException | None) -> re.Match[str] | None:
    return KILLED_WORKER.search(str(error)) if isinstance(error, RuntimeError) else None


def _drop_traceback(record: logging.LogRecord) -> bool:
    """A logging filter that replaces the traceback of a user error by its message, for log files alone.

    The command's last line on the terminal is the same message.
    """
    error = record.exc_info[1] if record.exc_info else None
    if error is not None and is_explained(error):
        record.msg, record.exc_info = f"{record.msg} {describe(error)}", None
        record.terminal = False  # see `segvit.engine.run_setup`
    return True
