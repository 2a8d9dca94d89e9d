"""Converts the labels of one picture and verifies what was written: the work of one process.

Shape shorthand in this module: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segvit.dataset_tools.preparation.checksums import checksum
from segvit.dataset_tools.preparation.damaged_file import DamagedFileError
from segvit.dataset_tools.preparation.distribution import Picture, Problem
from segvit.dataset_tools.preparation.file_writing import link_or_copy, write_label_map
from segvit.dataset_tools.preparation.label_table import IGNORED, LabelTable
from segvit.dataset_tools.preparation.readers import read_image_size, read_index_png


@dataclass(frozen=True)
class Job:
    """A picture, the files to make of it, and the checksums that these had when they were last made."""

    split: str
    picture: Picture
    image_target: Path
    label_targets: Sequence[Path]
    known_checksums: Mapping[Path, str]

    @property
    def written(self) -> list[Path]:
        """The files that are made: the label maps, and a link to the image unless it is in its place already."""
        linked = [self.image_target] if self.image_target != self.picture.image else []
        return [*self.label_targets, *linked]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: the checksums and the pixels of each id of the first label map, or a problem."""

    split: str
    checksums: Mapping[Path, str] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    is_kept: bool = False
    problem: Problem | None = None


class Converter:
    """Callable on a job; it can be sent to another process.

    Files that are there with the checksum that they had, and are not older than what they are made from, are kept.
    """

    def __init__(self, *, read: Callable[[Any], np.ndarray], tables: Sequence[LabelTable]) -> None:
        self._read, self._tables = read, tables

    def __call__(self, job: Job) -> Outcome:
        """Damaged files become the outcome's problem; an OSError in writing (a full disk) is raised."""
        try:
            size = read_image_size(job.picture.image)
            is_kept = _is_current(job)
            if not is_kept:
                self._convert(job, size)
            pixels = [
                count_pixels(path, size=size, num_classes=table.num_classes)
                for path, table in zip(job.label_targets, self._tables, strict=True)
            ]
        except DamagedFileError as error:
            return Outcome(job.split, problem=Problem(error.path, error.what))
        checksums = job.known_checksums if is_kept else {path: checksum(path) for path in job.written}
        return Outcome(job.split, checksums, pixels[0], is_kept)

    def _convert(self, job: Job, size: tuple[int, int]) -> None:
        raw = self._read(job.picture.source)
        _check_size(job.picture.source_file, raw, size, job.picture.stem)
        try:
            label_maps = [table.apply(raw) for table in self._tables]
        except ValueError as error:
            raise DamagedFileError(job.picture.source_file, f"{job.picture.stem}: {error}") from error
        for target, labels in zip(job.label_targets, label_maps, strict=True):
            write_label_map(target, labels)
        if job.image_target != job.picture.image:
            link_or_copy(job.picture.image, job.image_target)


def count_pixels(path: Path, *, size: tuple[int, int], num_classes: int) -> np.ndarray:
    """Read a label map that was written -> pixels of each id (256,).

    Raises DamagedFileError where its size or an id is not what it must be.
    """
    labels = read_index_png(path)
    _check_size(path, labels, size, path.stem)
    pixels = np.bincount(labels.ravel(), minlength=IGNORED + 1)
    wrong = pixels[num_classes:IGNORED].nonzero()[0] + num_classes
    if wrong.size:
        raise DamagedFileError(path, f"label ids {wrong.tolist()} are neither in 0..{num_classes - 1} nor {IGNORED}")
    return pixels


def _is_current(job: Job) -> bool:
    if set(job.written) != set(job.known_checksums) or not all(path.is_file() for path in job.written):
        return False
    sources = (job.picture.source_file, job.picture.image)
    newest = max(path.stat().st_mtime_ns for path in sources)
    return all(path.stat().st_mtime_ns >= newest for path in job.label_targets) and all(
        checksum(path) == known for path, known in job.known_checksums.items()
    )


def _check_size(path: Path, labels: np.ndarray, size: tuple[int, int], stem: str) -> None:
    if labels.shape != size:
        raise DamagedFileError(
            path,
            f"{stem}: labels of {labels.shape[1]} x {labels.shape[0]} pixels for an image of {size[1]} x {size[0]}",
        )
