"""`replaced_folder`: a new folder in the place of an older one, complete or not at all; `write_tensors` in it."""

from __future__ import annotations

import errno
import glob
import os
import re
import shutil
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from segvit.output_files import is_running, temporary_folder

# Ends the hidden name of a folder whose place another one takes.
OLD = ".old"
# Threads of one process write one after the other; several processes may write at once.
WRITING = threading.Lock()


@contextmanager
def replaced_folder(target: Path, *, own: Collection[str]) -> Iterator[Path]:
    """Yield a temporary folder that takes the place of `target` at the end, and is removed after an error.

    Of several processes that write at once, the last one wins.

    Args:
        target: the folder; it may exist.
        own: the names of its files that are replaced. Others are copied into the new folder.

    Raises:
        OSError: naming `target` where the temporary folder cannot be written.
    """
    try:
        with WRITING, temporary_folder(target) as new:
            yield new
            if target.is_dir():
                _copy_others(target, new, own=own)
            _take_place(new, target)
    except OSError as error:
        if f".{target.name}-{os.getpid()}" not in Path(str(error.filename)).parts:
            raise
        raise OSError(error.errno, error.strerror, str(target)) from error


def moved_away(target: Path) -> list[Path]:
    """Folders that were at `target` when a process died that was about to replace them."""
    hidden = target.parent.glob(f".{glob.escape(target.name)}{OLD}-[0-9]*")
    return [folder for folder in hidden if not is_running(folder.name.rpartition("-")[2])]


def write_tensors(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write a safetensors file that everybody may read who may read other new files. Raises OSError."""
    # Tensors of their own in main memory: the format holds no shared ones.
    copies = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(copies, path)
    except SafetensorError as error:
        found = re.search(r"os error (\d+)", str(error))
        number = int(found[1]) if found else errno.EIO
        raise OSError(number, os.strerror(number), str(path)) from error
    path.chmod(mode)  # safetensors lets only the owner read its file


def _copy_others(old: Path, new: Path, *, own: Collection[str]) -> None:
    for path in old.iterdir():
        if path.name in own:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)


def _take_place(new: Path, target: Path) -> None:
    """Rename a folder to `target`; what is there is moved away first, and then deleted."""
    old = target.with_name(f".{target.name}{OLD}-{os.getpid()}")
    while True:
        try:
            os.rename(new, target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        shutil.rmtree(old, ignore_errors=True)
        try:
            os.rename(target, old)
        except FileNotFoundError:  # another process has moved it
            continue
    for folder in (old, *moved_away(target)):
        shutil.rmtree(folder, ignore_errors=True)
