"""Which pictures and videos a command is given, and what their results are called."""

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
    """A file, and the name of its results without an extension; it may hold folders."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_EXTENSIONS


def find_sources(
    inputs: Iterable[str | os.PathLike[str]], *, on_error: Callable[[ValueError], None] | None = None
) -> list[Source]:
    """Files as they are given, and of each folder its pictures and videos in the order of their names.

    No two have one name: a file's name is its stem or, where others have the same, the whole file name, with as many
    of its folders as are needed. A file given twice is taken once. Whether a file exists is not asked.

    Args:
        inputs: files and folders, of which the folders inside are left out.
        on_error: is given what is raised without it, and the other inputs are taken.

    Raises:
        UserError: where a folder holds neither pictures nor videos, or nothing else was given.
    """
    files: list[Path] = []
    failure: ValueError | None = None
    for path in map(Path, inputs):
        try:
            files += _files_of(path) if path.is_dir() else [path]
        except ValueError as error:
            if on_error is None:
                raise
            on_error(error)
            failure = error
    if failure is not None and not files:
        raise failure
    files = list({file.absolute(): file for file in files}.values())
    return [Source(path=file, name=name) for file, name in zip(files, _distinct_names(files), strict=True)]


def _files_of(folder: Path) -> list[Path]:
    known = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
    listed = [path for path in sorted(folder.iterdir()) if not (path.is_dir() or path.name.startswith("."))]
    files = [path for path in listed if path.suffix.lower() in known]
    if not files:
        raise UserError(f"{folder}: the folder holds no file that ends in {', '.join(known)}")
    return files


def _distinct_names(files: list[Path]) -> list[str]:
    """Those that share a name take their next longer one, until none do."""
    names = [_longer_names(file) for file in files]
    lengths = [0] * len(files)
    while True:
        current = [candidates[length] for candidates, length in zip(names, lengths)]
        counts = Counter(current)
        if len(counts) == len(current):
            return current
        for index, name in enumerate(current):
            if counts[name] > 1:
                lengths[index] = min(lengths[index] + 1, len(names[index]) - 1)


def _longer_names(file: Path) -> list[str]:
    """For /a/b/c.png: c, c.png, b/c, b/c.png, a/b/c, a/b/c.png."""
    *folders, last = file.absolute().parts[1:]
    stem = Path(last).stem
    starts = ["/".join([*folders[start:], ""]) for start in range(len(folders), -1, -1)]
    return [start + end for start in starts for end in (stem, last)]
