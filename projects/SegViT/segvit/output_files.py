"""Atomic writes of files and folders, links and checksums of files, and the check that a folder can be written to."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from segvit.errors import UserError

# In the names of temporary files: ".<stem>.<process id>.unfinished<suffix>", beside the target.
UNFINISHED = ".unfinished"
# torch raises a RuntimeError that names this C++ file, and no errno, when it cannot write a checkpoint.
TORCH_WRITER = "inline_container"


@contextmanager
def atomic_write(target: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path to write to, which is renamed to `target` at the end and deleted after an error.

    Creates the target's folder. The temporary file has the target's suffix, for writers that choose a format by it.

    Args:
        target: the file to create or replace.
        sync: fsync the file before it gets its name, and the folder afterwards, so that it survives a power failure.

    Raises:
        OSError: writing failed; the error names the target.
    """
    target = Path(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.stem}.{os.getpid()}{UNFINISHED}{target.suffix}")
    try:
        yield temporary
        if sync:
            _fsync(temporary)
        os.replace(temporary, target)
        if sync:
            _fsync(target.parent)
    except OSError as error:
        # An error in copying names the source first; a full disk is the target's.
        is_full = error.errno == errno.ENOSPC and error.filename2 == str(temporary)
        if error.errno is None or not (is_full or error.filename in (None, str(temporary))):
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error
    except RuntimeError as error:
        if TORCH_WRITER not in str(error):
            raise
        raise OSError(errno.ENOSPC, "could not be written completely", str(target)) from error
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write_text(target: str | os.PathLike[str], text: str, *, sync: bool = False) -> None:
    """Write a UTF-8 text file atomically; see `atomic_write`."""
    with atomic_write(target, sync=sync) as temporary:
        temporary.write_text(text, encoding="utf-8")


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the file system has no hard links."""
    if target.exists() and target.samefile(source):
        return  # renaming a hard link over another one of the same file does nothing, and would leave both
    with atomic_write(target) as temporary:
        temporary.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


@contextmanager
def new_folder(target: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary folder that becomes `target` at the end, and is removed after an error.

    Raises FileExistsError if `target` exists.
    """
    target = Path(target)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists: name a new folder, or remove this one first")
    with temporary_folder(target) as folder:
        yield folder
        folder.rename(target)


@contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Yield a folder next to `target`, removed at the end unless it has been renamed; also those of killed processes.

    Its name is ".<name>-<process id>".
    """
    folder = target.with_name(f".{target.name}-{os.getpid()}")
    for left_over in target.parent.glob(f".{glob.escape(target.name)}-[0-9]*"):
        if not is_running(left_over.name.rpartition("-")[2]):
            shutil.rmtree(left_over, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def is_running(process_id: str) -> bool:
    """Whether a process of this id may still be running."""
    try:
        os.kill(int(process_id), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        return True  # of another user
    return True


def remove_unfinished(folder: Path, suffix: str = "") -> None:
    """Delete the temporary files, with this suffix or any, that a killed process left in a folder."""
    for path in folder.glob(f".*{UNFINISHED}{suffix or '*'}"):
        path.unlink(missing_ok=True)


def require_folder(folder: str | os.PathLike[str], *, origin: str) -> None:
    """Check that a folder exists or can be created, and is writable.

    Args:
        folder: the folder.
        origin: the config key or option that names it, for the message.

    Raises:
        UserError: naming `origin`.
    """
    if not str(folder):
        raise UserError(f"{origin} is empty: name a folder")
    path = Path(folder).absolute()
    existing = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    if not existing.is_dir():
        raise UserError(f"{origin} {str(folder)!r}: {existing} is a file, not a folder; choose another path")
    effective = os.access in os.supports_effective_ids
    if not os.access(existing, os.W_OK | os.X_OK, effective_ids=effective):
        raise UserError(f"{origin} {str(folder)!r}: {existing} is not writable; choose another path")


def _fsync(path: Path) -> None:
    """Flush a file's content, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, which is read block by block."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(partial(file.read, 2**20), b""):
            digest.update(block)
    return digest.hexdigest()
