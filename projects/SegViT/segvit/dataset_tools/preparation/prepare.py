"""Prepares a benchmark: converts, verifies, writes checksums, and reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segvit.dataset_tools.preparation.checksums import ChecksumFile
from segvit.dataset_tools.preparation.conversion import Converter, Job, Outcome
from segvit.dataset_tools.preparation.distribution import Distribution, Problem, Split
from segvit.dataset_tools.preparation.label_table import IGNORED
from segvit.dataset_tools.preparation.report import Report, SplitReport
from segvit.dataset_tools.preparation.workers import run_jobs
from segvit.datasets.pairs import load_sem_seg_pairs
from segvit.errors import UserError
from segvit.output_files import remove_unfinished


def prepare(distribution: Distribution, *, workers: int, force: bool = False) -> Report:
    """Write what the registrations of a benchmark read; files that an earlier run made are verified and kept.

    Args:
        distribution: what was found.
        workers: processes that convert.
        force: make every file anew.

    Raises:
        OSError: where a file cannot be written.
        UserError: where a link leads out of the data set's folder.
    """
    _require_inside(distribution)
    checksum_file = ChecksumFile(distribution.folder, version=distribution.version)
    known = {} if force else checksum_file.read()
    jobs = [job for split in distribution.splits for job in _jobs(split, known)]
    if not jobs:
        return _report(distribution, _Tally(), checksum_file)
    for split in distribution.splits:
        for folder in (split.image_dir, *split.annotation_dirs):
            remove_unfinished(folder)
    converter = Converter(read=distribution.read, tables=distribution.tables)
    checksum_file.begin()
    outcomes = run_jobs(converter, jobs, workers=workers, title=distribution.name)
    tally = _collect(outcomes, checksum_file)
    checksum_file.finish(tally.checksums)
    return _report(distribution, tally, checksum_file)


def _require_inside(distribution: Distribution) -> None:
    """An archive may hold links; what is written must not follow them to anywhere."""
    data_set = distribution.data_set.resolve()
    folders = [folder for split in distribution.splits for folder in (split.image_dir, *split.annotation_dirs)]
    for folder in (distribution.folder, *folders):
        if not folder.resolve().is_relative_to(data_set):
            raise UserError(
                f"{folder} leads to {folder.resolve()}, out of the data set's folder: remove this link (to keep a data "
                f"set elsewhere, make {distribution.data_set} as a whole a link)"
            )


@dataclass
class _Tally:
    """The outcomes so far."""

    checksums: dict[Path, str] = field(default_factory=dict)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(IGNORED + 1, dtype=np.int64))
    written: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def _jobs(split: Split, known: dict[Path, str]) -> list[Job]:
    jobs = []
    for picture in split.pictures:
        image_target = split.image_dir / picture.image.name
        label_targets = [folder / f"{picture.stem}.png" for folder in split.annotation_dirs]
        targets = (image_target, *label_targets)
        checksums = {path: known[path] for path in targets if path in known}
        jobs.append(Job(split.name, picture, image_target, label_targets, checksums))
    return jobs


def _collect(outcomes: Iterable[Outcome], checksum_file: ChecksumFile) -> _Tally:
    tally = _Tally()
    for outcome in outcomes:
        if outcome.problem is not None:
            tally.problems.append(outcome.problem)
            continue
        tally.checksums.update(outcome.checksums)
        tally.pixels += outcome.pixels
        counter = tally.kept if outcome.is_kept else tally.written
        counter[outcome.split] += 1
        if not outcome.is_kept:
            checksum_file.append(outcome.checksums)
    return tally


def _report(distribution: Distribution, tally: _Tally, checksum_file: ChecksumFile) -> Report:
    problems = [*distribution.problems, *tally.problems]
    is_sound = all(problem.is_missing for problem in problems)  # else the stems would repeat what is known
    for split in distribution.splits:
        done = tally.written[split.name] + tally.kept[split.name]
        if done != split.expected:
            what = f"{done} pictures are prepared, {split.expected} belong to the benchmark's {split.name} split"
            problems.append(Problem(split.annotation_dirs[0], what, is_missing=done < split.expected))
        if done and is_sound:
            problems.extend(_unpaired(split))
    return Report(
        name=distribution.name,
        folder=distribution.folder,
        splits=[
            SplitReport(split.name, split.expected, written=tally.written[split.name], kept=tally.kept[split.name])
            for split in distribution.splits
        ],
        pixels=tally.pixels,
        num_classes=distribution.tables[0].num_classes,
        checksum_file=checksum_file.path,
        problems=problems,
        notes=distribution.notes,
    )


def _unpaired(split: Split) -> list[Problem]:
    problems = []
    for folder in split.annotation_dirs:
        try:
            load_sem_seg_pairs(split.image_dir, folder)
        except ValueError as error:
            problems.append(Problem(folder, str(error)))
    return problems
