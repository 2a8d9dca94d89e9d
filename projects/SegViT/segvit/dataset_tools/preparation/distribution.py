"""`Distribution`: the files of a benchmark as downloaded, the classes of their labels, and where prepared files go.

Shape shorthand: H x W pixels, R raw ids from 0 to R - 1, K classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segvit.datasets.registration import Color
from segvit.errors import UserError, listed

# The class id of ignored pixels, and that of raw ids without a class.
IGNORED, NO_CLASS = 255, -1


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
    With `has_subfolders`, the files are in folders below, and stems begin with the folder's name.
    """

    name: str
    expected: int
    image_dir: Path
    annotation_dirs: Sequence[Path]
    images: Sequence[LabelledImage]
    has_subfolders: bool = False


def no_hint(ids: list[int]) -> str:
    return ""


class LabelTable:
    """Maps raw ids to class ids 0 to K - 1 or to the ignore value 255.

    Args:
        class_ids: raw id -> class id; any other raw id is an error.
        colors: of the classes, RGB; at most 255.
        hint: ids that do not occur -> what the message about them adds.
    """

    def __init__(
        self, class_ids: Mapping[int, int], *, colors: Sequence[Color], hint: Callable[[list[int]], str] = no_hint
    ) -> None:
        self.colors = colors
        self._hint = hint
        self._class_ids = np.full(max(class_ids) + 1, NO_CLASS, dtype=np.int16)  # (R,)
        self._class_ids[list(class_ids)] = list(class_ids.values())

    @property
    def num_classes(self) -> int:
        return len(self.colors)

    def apply(self, raw: np.ndarray) -> np.ndarray:
        """Raw ids (H, W) -> class ids (H, W) uint8. Raises UserError, listing the ids, for ids without a class."""
        known = (raw >= 0) & (raw < len(self._class_ids)) & (raw == np.floor(raw))
        labels = self._class_ids[np.where(known, raw, 0).astype(np.int64)]
        wrong = ~known | (labels == NO_CLASS)
        if wrong.any():
            ids = np.unique(raw[wrong]).tolist()
            raise UserError(f"label ids {listed(ids)} do not occur in this dataset{self._hint(ids)}")
        return labels.astype(np.uint8)


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


def labelled_pairs(
    images: Mapping[str, Path], label_maps: Mapping[str, Path], problems: list[Problem], *, is_missing: bool
) -> list[LabelledImage]:
    """The images and label maps, by stem, that have one another; a file without its counterpart becomes a problem."""
    if images and label_maps:
        for files, others in ((images, label_maps), (label_maps, images)):
            other_dir = next(iter(others.values())).parent
            problems.extend(
                Problem(file, f"no file with this name in {other_dir}", is_missing=is_missing)
                for stem, file in files.items()
                if stem not in others
            )
    return [
        LabelledImage(stem, image, label_maps[stem], label_maps[stem])
        for stem, image in images.items()
        if stem in label_maps
    ]
