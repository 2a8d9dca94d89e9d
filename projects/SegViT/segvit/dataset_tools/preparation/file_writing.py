"""Writes files whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from segvit.output_files import atomic_write


def write_label_map(target: Path, labels: np.ndarray) -> None:
    """Write (H, W) uint8 as a single-channel PNG."""
    with atomic_write(target) as unfinished:
        Image.fromarray(labels).save(unfinished, format="PNG")


def link_or_copy(source: Path, target: Path) -> None:
    """Make `target` another name of the file `source`, or a copy where the file system has no such links."""
    if target.exists() and target.samefile(source):
        return  # renaming one name of a file to another one of its names would leave both
    with atomic_write(target) as unfinished:
        unfinished.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), unfinished)
        except OSError:
            shutil.copyfile(source, unfinished)
