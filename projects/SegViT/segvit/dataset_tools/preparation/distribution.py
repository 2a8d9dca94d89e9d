"""What was found of a benchmark, and where what is made of it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segvit.dataset_tools.preparation.label_table import LabelTable


@dataclass(frozen=True)
class Problem:
    """What is missing, or else wrong, and where."""

    path: Path
    what: str
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True)
class Picture:
    """An image as distributed, with its labels: `source` is what the reader takes, `source_file` the file it is in."""

    stem: str
    image: Path
    source: Any
    source_file: Path


@dataclass(frozen=True)
class Split:
    """The pictures that were found of a split, and the folders that its registrations read.

    Images are linked into `image_dir`, unless they are there already. `expected` is how many the benchmark has.
    """

    name: str
    expected: int
    image_dir: Path
    annotation_dirs: Sequence[Path]
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Distribution:
    """A benchmark as it was found.

    Args:
        name: of the benchmark, for people.
        folder: holds everything that is written, and the file of checksums.
        data_set: what is written stays below this folder, which may itself be a link to another disk.
        version: names the way in which the files are made; files made in another way are made again.
        read: `Picture.source` -> raw label map (H, W). It must be picklable, and raise `DamagedFileError`.
        tables: one for each of a split's annotation folders.
        splits: with at least the pictures that can be prepared.
        problems: what was missing or wrong already.
        notes: what else a user should know.
    """

    name: str
    folder: Path
    data_set: Path
    version: str
    read: Callable[[Any], np.ndarray]
    tables: Sequence[LabelTable]
    splits: Sequence[Split]
    problems: Sequence[Problem] = field(default=())
    notes: Sequence[str] = field(default=())


def files_by_exact_stem(folder: Path, extension: str) -> dict[str, Path]:
    """Stem -> file, for the files with exactly that extension; nothing where there is no folder."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == extension}
