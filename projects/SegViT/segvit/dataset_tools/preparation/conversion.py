"""`Converter`: convert the labels of one image and verify the written files; runs in a worker process.

Shape shorthand: H x W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segvit.dataset_tools.preparation.distribution import IGNORED, LabelledImage, LabelTable, Problem
from segvit.dataset_tools.preparation.readers import DamagedFileError, read_image_size, read_index_png
from segvit.label_png import write_label_png
from segvit.output_files import link_or_copy, sha256_of


@dataclass(frozen=True)
class Job:
    """An image, its output files, and their checksums from an earlier run."""

    split: str
    image: LabelledImage
    image_target: Path
    label_targets: Sequence[Path]
    known_checksums: Mapping[Path, str]

    @property
    def outputs(self) -> list[Path]:
        """The output files: the label maps, and a link to the image unless it already is in the output folder."""
        linked = [self.image_target] if self.image_target != self.image.image else []
        return [*self.label_targets, *linked]


@dataclass(frozen=True)
class Outcome:
    """The result of a job: checksums and the pixels of each id (256,) of the first label map, or a problem."""

    split: str
    checksums: Mapping[Path, str] = field(default_factory=dict)
    pixels: np.ndarray | None = None
    is_kept: bool = False
    problem: Problem | None = None


class Converter:
    """A picklable function of a `Job`.

    Output files that still have their checksum and are not older than their sources are kept.
    """

    def __init__(self, *, read: Callable[[Any], np.ndarray], tables: Sequence[LabelTable]) -> None:
        self._read = read
        self._tables = tables

    def __call__(self, job: Job) -> Outcome:
        """Convert or keep, and verify. A damaged file becomes the outcome's problem; errors in writing are raised."""
        try:
            size = read_image_size(job.image.image)
            is_kept = _is_current(job)
            if not is_kept:
                self._convert(job, size)
            pixels = [
                count_pixels(path, size=size, num_classes=table.num_classes)
                for path, table in zip(job.label_targets, self._tables, strict=True)
            ]
        except DamagedFileError as error:
            return Outcome(job.split, problem=Problem(error.path, error.reason))
        checksums = job.known_checksums if is_kept else {path: sha256_of(path) for path in job.outputs}
        return Outcome(job.split, checksums, pixels[0], is_kept)

    def _convert(self, job: Job, size: tuple[int, int]) -> None:
        raw = self._read(job.image.source)
        _check_size(job.image.source_file, raw, size, job.image.stem)
        try:
            label_maps = [table.apply(raw) for table in self._tables]
        except ValueError as error:
            raise DamagedFileError(job.image.source_file, f"{job.image.stem}: {error}") from error
        for target, labels, table in zip(job.label_targets, label_maps, self._tables, strict=True):
            write_label_png(target, labels, table.colors)
        if job.image_target != job.image.image:
            link_or_copy(job.image.image, job.image_target)


def count_pixels(path: Path, *, size: tuple[int, int], num_classes: int) -> np.ndarray:
    """Read a written label map -> pixels of each id (256,).

    Raises DamagedFileError if its size or an id is wrong.
    """
    labels = read_index_png(path)
    _check_size(path, labels, size, path.stem)
    pixels = np.bincount(labels.ravel(), minlength=IGNORED + 1)
    wrong = pixels[num_classes:IGNORED].nonzero()[0] + num_classes
    if wrong.size:
        raise DamagedFileError(path, f"label ids {wrong.tolist()} are neither in 0..{num_classes - 1} nor {IGNORED}")
    return pixels


def _is_current(job: Job) -> bool:
    """Whether all output files exist, are not older than their sources, and have their known checksums."""
    if set(job.outputs) != set(job.known_checksums) or not all(path.is_file() for path in job.outputs):
        return False
    sources = (job.image.source_file, job.image.image)
    newest = max(path.stat().st_mtime_ns for path in sources)
    return all(path.stat().st_mtime_ns >= newest for path in job.label_targets) and all(
        sha256_of(path) == known for path, known in job.known_checksums.items()
    )


def _check_size(path: Path, labels: np.ndarray, size: tuple[int, int], stem: str) -> None:
    if labels.shape != size:
        raise DamagedFileError(
            path,
            f"{stem}: labels of {labels.shape[1]} x {labels.shape[0]} pixels for an image of {size[1]} x {size[0]}",
        )
