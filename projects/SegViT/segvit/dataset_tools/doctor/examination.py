"""The whole examination of a data set: read every pair, apply every rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tqdm import tqdm

from segvit.dataset_tools.doctor.class_counts import ClassCounts, count_classes
from segvit.dataset_tools.doctor.coverage_rules import check_classes, check_ignored
from segvit.dataset_tools.doctor.duplicate_rules import check_duplicates
from segvit.dataset_tools.doctor.file_rules import check_files
from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.id_rules import check_ids
from segvit.dataset_tools.doctor.inspection import Inspection, inspect_pairs
from segvit.dataset_tools.doctor.subject import Subject


@dataclass(frozen=True)
class Diagnosis:
    """Findings, errors first, and by split what was read and the pixels by class."""

    subject: Subject
    findings: tuple[Finding, ...]
    inspections: dict[str, list[Inspection]]
    counts: dict[str, ClassCounts]

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


def examine(subject: Subject, *, workers: int, progress: bool = True) -> Diagnosis:
    """Read every file of a data set once and apply all rules; with a progress bar and the time left."""
    inspections: dict[str, list[Inspection]] = {}
    total = sum(len(split.pairs) for split in subject.splits)
    with tqdm(total=total, desc="reading", unit="pair", disable=not progress) as bar:
        for split in subject.splits:
            inspections[split.name] = []
            for inspection in inspect_pairs(split.pairs, workers=workers):
                inspections[split.name].append(inspection)
                bar.update()
    num_classes = len(subject.classes.names)
    counts = {
        name: count_classes(items, num_classes=num_classes, ignore_value=subject.ignore_value)
        for name, items in inspections.items()
    }
    found = sorted(_findings(subject, inspections, counts), key=lambda finding: finding.severity != "error")
    return Diagnosis(subject, tuple(found), inspections, counts)


def _findings(
    subject: Subject, inspections: dict[str, list[Inspection]], counts: dict[str, ClassCounts]
) -> Iterator[Finding]:
    for split in subject.splits:
        yield from split.findings
        yield from check_files(split.name, inspections[split.name])
    ids = {"num_classes": len(subject.classes.names), "ignore_value": subject.ignore_value}
    of_ids = list(check_ids(inspections, **ids))
    yield from of_ids
    for name, items in inspections.items():
        yield from check_ignored(name, items, counts[name], ignore_value=subject.ignore_value)
    if not any(finding.kind in ("shifted_ids", "ignored_foreground") for finding in of_ids):  # they leave classes empty
        yield from check_classes(counts, subject.classes.names)
    yield from check_duplicates(inspections)
