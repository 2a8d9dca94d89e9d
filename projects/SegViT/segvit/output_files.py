"""Files that commands write: into folders that take them, and whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segvit.errors import UserError

UNFINISHED = ".unfinished"
# The part of torch that writes checkpoints; it does not say why it failed.
TORCH_WRITER = "inline_container"


@contextmanager
def written_whole(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Write to the path that this yields; it takes the name `target` at the end, and is gone after an error.

    The folder of the target is made. The path ends like the target, for writers that look at the extension.

    Raises:
        OSError: naming the target, where writing fails, also where torch says so in its own way.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.stem}.{os.getpid()}{UNFINISHED}{target.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, target)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(unfinished)):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    except RuntimeError as error:
        if TORCH_WRITER not in str(error):
            raise
        raise OSError(errno.ENOSPC, "could not be written to its end", str(target)) from error
    finally:
        unfinished.unlink(missing_ok=True)


def require_folder(folder: str | os.PathLike[str], *, origin: str) -> None:
    """Raise UserError, naming the key or option `origin`, where a folder is none or cannot be made or written to."""
    if not str(folder):
        raise UserError(f"{origin} is empty: name a folder")
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise UserError(f"{origin} {str(folder)!r}: {existing} is a file, not a folder; choose another place")
    effective = os.access in os.supports_effective_ids
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=effective):
        raise UserError(f"{origin} {str(folder)!r}: {existing} may not be written to; choose another place")
