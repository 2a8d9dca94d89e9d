"""`find_sources`: the image and video files of a command, each with a unique name for its results."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from segvit.datasets.pairs import IMAGE_EXTENSIONS
from segvit.errors import UserError
from segvit.inference.video import VIDEO_EXTENSIONS


@dataclass(frozen=True)
class Source:
    """A file and the name of its results, without extension; the name may contain folders."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_EXTENSIONS


def find_sources(
    inputs: Iterable[str | os.PathLike[str]], *, on_error: Callable[[ValueError], None] | None = None
) -> list[Source]:
    """Files as given, and the images and videos of each folder, sorted by name.

    A file's name is its stem. If several files have the same stem, their names also take the extension and as many
    parent folders as make them unique. A file that is given twice is listed once. Files are not checked to exist.

    Args:
        inputs: files and folders; subfolders are not searched.
        on_error: called with the error of a folder without images or videos; the other inputs are still listed.

    Raises:
        UserError: for a folder without images or videos, unless `on_error` is given and other files were found.
    """
    files: list[Path] = []
    failure: ValueError | None = None
    for path in map(Path, inputs):
        try:
            files += _files_in(path) if path.is_dir() else [path]
        except ValueError as error:
            if on_error is None:
                raise
            on_error(error)
            failure = error
    if failure is not None and not files:
        raise failure
    files = list({file.absolute(): file for file in files}.values())
    return [Source(path=file, name=name) for file, name in zip(files, _unique_names(files), strict=True)]


def _files_in(folder: Path) -> list[Path]:
    extensions = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
    visible = [path for path in sorted(folder.iterdir()) if not (path.is_dir() or path.name.startswith("."))]
    files = [path for path in visible if path.suffix.lower() in extensions]
    if not files:
        raise UserError(f"{folder}: the folder has no file that ends in {', '.join(extensions)}")
    return files


def _unique_names(files: list[Path]) -> list[str]:
    """Lengthen the names that several files share until all names differ."""
    candidates = [_candidate_names(file) for file in files]
    lengths = [0] * len(files)
    while True:
        names = [options[length] for options, length in zip(candidates, lengths)]
        counts = Counter(names)
        if len(counts) == len(names):
            return names
        for index, name in enumerate(names):
            if counts[name] > 1:
                lengths[index] = min(lengths[index] + 1, len(candidates[index]) - 1)


def _candidate_names(file: Path) -> list[str]:
    """For /a/b/c.png, shortest first: c, c.png, b/c, b/c.png, a/b/c, a/b/c.png."""
    *folders, filename = file.absolute().parts[1:]
    stem = Path(filename).stem
    prefixes = ["/".join([*folders[start:], ""]) for start in range(len(folders), -1, -1)]
    return [prefix + ending for prefix in prefixes for ending in (stem, filename)]
