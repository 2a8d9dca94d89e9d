"""Checkpoints on the disk: whole and synced before their name says so, and named as the last one only then."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from segvit.output_files import UNFINISHED, written_whole

LAST = "last_checkpoint"


def write_checkpoint(content: dict[str, object], path: Path) -> None:
    """Write a file under a temporary name in the same folder, bring it to the disk, and give it its name.

    Raises:
        OSError: naming the file, where the disk is full or may not be written to; what was there before is intact.
    """
    for leftover in path.parent.glob(f".*{UNFINISHED}.pth"):  # of a run that was killed while it wrote
        leftover.unlink(missing_ok=True)
    with written_whole(path) as unfinished:
        torch.save(content, unfinished)
        _sync(unfinished)
    _sync(path.parent)


def name_last_checkpoint(path: Path) -> None:
    """Say in the file's folder that it is the one to resume from."""
    with written_whole(path.with_name(LAST)) as unfinished:
        unfinished.write_text(path.name, encoding="utf-8")
        _sync(unfinished)
    _sync(path.parent)


def _sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
