"""`prepare`: convert a benchmark's labels in worker processes, verify the files, write checksums, and report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from segvit.dataset_tools.parallel import run_in_processes
from segvit.dataset_tools.preparation.checksums import ChecksumFile
from segvit.dataset_tools.preparation.conversion import Converter, Job, Outcome
from segvit.dataset_tools.preparation.distribution import IGNORED, Distribution, Problem, Split
from segvit.dataset_tools.preparation.report import Report, SplitReport
from segvit.datasets.pairs import load_sem_seg_pairs
from segvit.errors import UserError
from segvit.output_files import remove_unfinished


def prepare(distribution: Distribution, *, workers: int, force: bool = False) -> Report:
    """Write the files that a benchmark's registered datasets read; sound files of an earlier run are kept.

    Args:
        distribution: the files found.
        workers: number of processes.
        force: make all files again.

    Raises:
        OSError: a file cannot be written.
        UserError: a link points out of the dataset's folder.
        concurrent.futures.process.BrokenProcessPool: a worker was killed.
    """
    _require_inside(distribution)
    checksum_file = ChecksumFile(distribution.folder, version=distribution.version)
    known = {} if force else checksum_file.read()
    jobs = [job for split in distribution.splits for job in _jobs(split, known)]
    if not jobs:
        return _report(distribution, _Tally(), checksum_file)
    for folder in {path.parent for job in jobs for path in job.outputs}:
        remove_unfinished(folder)
    converter = Converter(read=distribution.read, tables=distribution.tables)
    checksum_file.begin()
    outcomes = run_in_processes(converter, jobs, workers=workers, title=distribution.name)
    tally = _collect(outcomes, checksum_file)
    checksum_file.finish(tally.checksums)
    return _report(distribution, tally, checksum_file)


def _require_inside(distribution: Distribution) -> None:
    """Refuse links out of the dataset's folder, which an archive may contain: files would be written through them."""
    dataset_folder = distribution.dataset_folder.resolve()
    folders = [folder for split in distribution.splits for folder in (split.image_dir, *split.annotation_dirs)]
    for folder in (distribution.folder, *folders):
        if not folder.resolve().is_relative_to(dataset_folder):
            raise UserError(
                f"{folder} is a link to {folder.resolve()}, outside the dataset's folder: remove it (to keep the "
                f"dataset on another disk, make {distribution.dataset_folder} as a whole a link)"
            )


@dataclass
class _Tally:
    """Sums over the outcomes."""

    checksums: dict[Path, str] = field(default_factory=dict)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(IGNORED + 1, dtype=np.int64))
    written: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)


def _jobs(split: Split, known: dict[Path, str]) -> list[Job]:
    jobs = []
    for image in split.images:
        is_there = image.image.is_relative_to(split.image_dir)
        image_target = image.image if is_there else split.image_dir / image.image.name
        label_targets = [folder / f"{image.stem}.png" for folder in split.annotation_dirs]
        targets = (image_target, *label_targets)
        checksums = {path: known[path] for path in targets if path in known}
        jobs.append(Job(split.name, image, image_target, label_targets, checksums))
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
    is_sound = all(problem.is_missing for problem in problems)  # otherwise unpaired files are already reported
    for split in distribution.splits:
        done = tally.written[split.name] + tally.kept[split.name]
        if done != split.expected:
            what = f"{done} images are prepared, the benchmark's {split.name} split has {split.expected}"
            problems.append(Problem(split.annotation_dirs[0], what, is_missing=done < split.expected))
        if done and is_sound and not split.has_subfolders:
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
