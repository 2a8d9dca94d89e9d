"""`Sources`: the image and video files of a command, each with a unique name for its results."""

from __future__ import annotations

import hashlib
import itertools
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvit.datasets.pairs import IMAGE_EXTENSIONS
from segvit.errors import UserError
from segvit.inference.video import VIDEO_EXTENSIONS
from segvit.inference.work_share import WorkShare

EXTENSIONS = (*IMAGE_EXTENSIONS, *VIDEO_EXTENSIONS)
# Files of a folder that are sorted together.
BLOCK = 100_000
ALL_FILES = WorkShare()


@dataclass(frozen=True)
class Source:
    """A file and the name of its results, without extension; the name may contain folders."""

    path: Path
    name: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_EXTENSIONS


class Sources:
    """Files as given, and the images and videos of each folder; iterate over it any number of times.

    A file's name is its stem. If several files have the same stem, their names also take the extension and as many
    parent folders as make them unique. A file that is given twice is listed once. Files are not checked to exist.

    Folders are read twice, in blocks, and eight bytes per file stay in memory, so that they may hold millions of files.
    The files of a folder are sorted by name, in a larger one those of each block.

    Args:
        inputs: files and folders; subfolders are not searched.
        on_error: called with the error of a folder without images or videos; the other inputs are still listed.
        share: the part of the files that is listed; names do not depend on it.

    Raises:
        UserError: for a folder without images or videos, unless `on_error` is given and other files were found.
    """

    def __init__(
        self,
        inputs: Iterable[str | os.PathLike[str]],
        *,
        on_error: Callable[[ValueError], None] | None = None,
        share: WorkShare = ALL_FILES,
    ) -> None:
        self._share = share
        self._inputs = list({path.absolute(): path for path in map(Path, inputs)}.values())
        self._count = 0
        stems = array("Q")
        failure: ValueError | None = None
        for path in self._inputs:
            num_before = len(stems)
            for file in self._files_of(path):
                stems.append(_checksum(Path(file).stem))
                self._count += share.takes(os.path.basename(file))
            if len(stems) == num_before and path.is_dir():
                failure = UserError(f"{path}: the folder has no file that ends in {', '.join(EXTENSIONS)}")
                if on_error is None:
                    raise failure
                on_error(failure)
        if failure is not None and not stems:
            raise failure
        self._stems = np.sort(np.frombuffer(stems, dtype=np.uint64))
        self._names = self._longer_names()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Source]:
        for file in self._files():
            if self._share.takes(os.path.basename(file)):
                yield Source(path=Path(file), name=self._names.get(file) or Path(file).stem)

    def _files(self) -> Iterator[str]:
        return itertools.chain.from_iterable(map(self._files_of, self._inputs))

    def _files_of(self, path: Path) -> Iterator[str]:
        """The files of an input that no input before it has."""
        before = self._inputs[: self._inputs.index(path)]
        if not path.is_dir():
            in_folder = path.absolute().parent in {folder.absolute() for folder in before if folder.is_dir()}
            if not (in_folder and os.path.lexists(path) and _is_listed(path.name)):
                yield str(path)
            return
        given = {str(path / file.name) for file in before if file.absolute().parent == path.absolute()}
        with os.scandir(path) as entries:
            names = (entry.name for entry in entries if _is_listed(entry.name) and not entry.is_dir())
            while block := sorted(itertools.islice(names, BLOCK)):
                yield from (file for file in (str(path / name) for name in block) if file not in given)

    def _longer_names(self) -> dict[str, str]:
        """The names of all files whose stems are not unique."""
        repeated = set(self._stems[1:][self._stems[1:] == self._stems[:-1]].tolist())
        files = [file for file in self._files() if _checksum(Path(file).stem) in repeated] if repeated else []
        return dict(zip(files, _unique_names([Path(file) for file in files], self._is_stem), strict=True))

    def _is_stem(self, name: str) -> bool:
        position = int(np.searchsorted(self._stems, np.uint64(_checksum(name))))
        return position < len(self._stems) and int(self._stems[position]) == _checksum(name)


def _is_listed(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)


def _checksum(text: str) -> int:
    """64 bits. Two stems of the same checksum count as equal, and get longer names without need."""
    return int.from_bytes(hashlib.blake2b(os.fsencode(text), digest_size=8).digest(), "little")


def _unique_names(files: list[Path], is_taken: Callable[[str], bool]) -> list[str]:
    """Lengthen the names of files with equal stems until all differ, from each other and from other files' stems."""
    candidates = [_candidate_names(file) for file in files]
    lengths = [1] * len(files)
    while True:
        names = [options[length] for options, length in zip(candidates, lengths)]
        counts = Counter(names)
        shared = [index for index, name in enumerate(names) if counts[name] > 1 or is_taken(name)]
        longer = [index for index in shared if lengths[index] < len(candidates[index]) - 1]
        if not longer:
            return names
        for index in longer:
            lengths[index] += 1


def _candidate_names(file: Path) -> list[str]:
    """For /a/b/c.png, shortest first: c, c.png, b/c, b/c.png, a/b/c, a/b/c.png."""
    *folders, filename = file.absolute().parts[1:]
    stem = Path(filename).stem
    prefixes = ["/".join([*folders[start:], ""]) for start in range(len(folders), -1, -1)]
    return [prefix + ending for prefix in prefixes for ending in (stem, filename)]
