"""`Distribution`: the files of a benchmark as downloaded, and where the prepared files go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segvit.dataset_tools.preparation.label_table import LabelTable


@dataclass(frozen=True)
class Problem:
    """A file or folder that is missing (`is_missing`) or wrong."""

    path: Path
    what: str
    is_missing: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True)
class LabelledImage:
    """An image and its labels: `source` is the argument of the reader, `source_file` the file that holds it."""

    stem: str
    image: Path
    source: Any
    source_file: Path


@dataclass(frozen=True)
class Split:
    """The images found of a split, and the folders that its registered datasets read.

    Images are linked into `image_dir`, unless they are there already. `expected` is the benchmark's number of images.
    """

    name: str
    expected: int
    image_dir: Path
    annotation_dirs: Sequence[Path]
    images: Sequence[LabelledImage]


@dataclass(frozen=True)
class Distribution:
    """A downloaded benchmark.

    Args:
        name: display name of the benchmark.
        folder: root of all output files, and of the checksum file.
        dataset_folder: files are written below this folder only; it may itself be a link to another disk.
        version: identifies the conversion; files made by another version are made again.
        read: `LabelledImage.source` -> raw label map (H, W). Picklable; raises `DamagedFileError`.
        tables: one for each of a split's annotation folders.
        splits: with the images that can be prepared.
        problems: files that are missing or wrong.
        notes: further remarks for the report.
    """

    name: str
    folder: Path
    dataset_folder: Path
    version: str
    read: Callable[[Any], np.ndarray]
    tables: Sequence[LabelTable]
    splits: Sequence[Split]
    problems: Sequence[Problem] = field(default=())
    notes: Sequence[str] = field(default=())


def files_by_exact_stem(folder: Path, extension: str) -> dict[str, Path]:
    """Stem -> file, for the files with exactly this extension; empty if the folder does not exist."""
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == extension}
