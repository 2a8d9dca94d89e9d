"""Writes files whole or not at all: under a hidden name first, which is then renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

UNFINISHED = ".unfinished"


def write_label_map(target: Path, labels: np.ndarray) -> None:
    """Write (H, W) uint8 as a single-channel PNG."""
    _write_whole(target, lambda path: Image.fromarray(labels).save(path, format="PNG"))


def write_text(target: Path, content: str) -> None:
    """Write a text file in UTF-8."""
    _write_whole(target, lambda path: path.write_text(content, encoding="utf-8"))


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`, or a copy where the file system has no such links."""
    if target.exists() and target.samefile(source):
        return  # renaming one name of a file to another one of its names would leave both

    def link(path: Path) -> None:
        path.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), path)
        except OSError:
            shutil.copyfile(source, path)

    _write_whole(target, link)


def remove_unfinished(folder: Path) -> None:
    """Remove what an interrupted run left in a folder."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def _write_whole(target: Path, write: Callable[[Path], object]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}{UNFINISHED}")
    try:
        write(unfinished)
        os.replace(unfinished, target)
    finally:
        unfinished.unlink(missing_ok=True)
