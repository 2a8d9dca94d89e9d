"""`Report` of a preparation: counts per split, missing files, and errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvit.dataset_tools.preparation.distribution import IGNORED, Problem
from segvit.output_files import atomic_write_text

# How many problems of each kind the report lists; PROBLEMS_FILE has all of them.
MAX_LISTED = 10
PROBLEMS_FILE = "preparation_problems.txt"


@dataclass(frozen=True)
class SplitReport:
    """How many images of a split were converted, and how many were kept from an earlier run."""

    name: str
    expected: int
    written: int
    kept: int

    def __str__(self) -> str:
        done = self.written + self.kept
        return f"{self.name}: {done} of {self.expected} images ({self.written} written, {self.kept} kept)"


@dataclass(frozen=True)
class Report:
    """The result of a run. `pixels` (256,): pixels of each id, over all label maps with `num_classes` classes."""

    name: str
    folder: Path
    splits: Sequence[SplitReport]
    pixels: np.ndarray
    num_classes: int
    checksum_file: Path
    problems: Sequence[Problem]
    notes: Sequence[str]

    def is_complete(self, *, allow_missing: bool = False) -> bool:
        """Whether nothing is missing or wrong; with `allow_missing`, whether anything is prepared and nothing wrong."""
        if allow_missing:
            return bool(self.pixels.any()) and all(problem.is_missing for problem in self.problems)
        return not self.problems

    def text(self) -> str:
        """The report; it ends with the missing and wrong files, at most MAX_LISTED of each."""
        lines = [f"{self.name} in {self.folder}", *(f"  {split}" for split in self.splits), *self._class_lines()]
        lines.extend(f"  note: {note}" for note in self.notes)
        for title, problems in self._problems_by_kind():
            lines.extend(["", f"{title}: {len(problems)}", *(f"  {problem}" for problem in problems[:MAX_LISTED])])
            if len(problems) > MAX_LISTED:
                lines.append(f"  and {len(problems) - MAX_LISTED} more, all in {self.folder / PROBLEMS_FILE}")
        return "\n".join(lines) + "\n"

    def write_problems(self) -> None:
        """Write all problems to PROBLEMS_FILE, or remove the file of an earlier run."""
        path = self.folder / PROBLEMS_FILE
        if not self.problems:
            path.unlink(missing_ok=True)
        elif self.folder.is_dir():
            kinds = self._problems_by_kind()
            lines = [f"{title}: {problem}\n" for title, problems in kinds for problem in problems]
            atomic_write_text(path, "".join(lines))

    def _class_lines(self) -> list[str]:
        if not self.pixels.any():
            return []
        occurring = np.count_nonzero(self.pixels[: self.num_classes])
        ignored = 100 * self.pixels[IGNORED] / self.pixels.sum()
        return [
            f"  {occurring} of {self.num_classes} classes occur; {ignored:.1f} % of the pixels are ignored ({IGNORED})",
            f"  checksums: {self.checksum_file}",
        ]

    def _problems_by_kind(self) -> list[tuple[str, list[Problem]]]:
        missing = [problem for problem in self.problems if problem.is_missing]
        wrong = [problem for problem in self.problems if not problem.is_missing]
        kinds = (("missing", missing), ("wrong or damaged", wrong))
        return [(title, problems) for title, problems in kinds if problems]
