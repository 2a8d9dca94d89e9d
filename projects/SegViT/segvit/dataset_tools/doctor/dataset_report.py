"""`check_dataset`: read every pair of a dataset once, apply all rules, and return a `DatasetReport`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from segvit.dataset_tools.doctor.checked_dataset import CheckedDataset
from segvit.dataset_tools.doctor.coverage_rules import ClassCounts, check_classes, check_ignored, count_classes
from segvit.dataset_tools.doctor.duplicate_rules import check_duplicates
from segvit.dataset_tools.doctor.file_rules import check_channels, check_files, check_levels
from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.id_rules import check_ids
from segvit.dataset_tools.doctor.inspection import RGB, Inspection, inspect_pairs
from segvit.images import ImageFormat
from segvit.progress import progress_bar

ONE_CLASS = (
    "the class list has one class, so that every pixel would be predicted as it: list two classes, the background "
    "first; for masks of 0 and 255, --convert-to NEW_FOLDER --map-ids 255=1"
)
# Findings that leave classes without a pixel, so that absent classes are no news.
EXPLAIN_ABSENT_CLASSES = ("shifted_ids", "ignored_foreground")


@dataclass(frozen=True)
class DatasetReport:
    """Findings, errors first; the inspected pairs and the class counts of each split."""

    dataset: CheckedDataset
    findings: tuple[Finding, ...]
    inspections: dict[str, list[Inspection]]
    counts: dict[str, ClassCounts]

    @property
    def has_errors(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)


def check_dataset(
    dataset: CheckedDataset, *, workers: int, image_format: ImageFormat = RGB, progress: bool = True
) -> DatasetReport:
    """Read all files with `workers` threads, showing a progress bar, and apply all rules."""
    inspections: dict[str, list[Inspection]] = {}
    total = sum(len(split.pairs) for split in dataset.splits)
    with progress_bar(total=total, title="reading", unit="pair", shown=progress) as bar:
        for split in dataset.splits:
            inspections[split.name] = []
            for inspection in inspect_pairs(split.pairs, workers=workers, image_format=image_format):
                inspections[split.name].append(inspection)
                bar.update()
    num_classes = len(dataset.classes.names)
    counts = {
        name: count_classes(items, num_classes=num_classes, ignore_value=dataset.ignore_value)
        for name, items in inspections.items()
    }
    findings = sorted(_findings(dataset, inspections, counts), key=lambda finding: finding.severity != "error")
    return DatasetReport(dataset, tuple(findings), inspections, counts)


def _findings(
    dataset: CheckedDataset, inspections: dict[str, list[Inspection]], counts: dict[str, ClassCounts]
) -> Iterator[Finding]:
    for split in dataset.splits:
        yield from split.findings
        yield from check_files(split.name, inspections[split.name])
        yield from check_levels(split.name, inspections[split.name])
        yield from check_channels(split.name, inspections[split.name])
    num_classes = len(dataset.classes.names)
    if num_classes == 1:
        yield Finding("one_class", "error", "", ONE_CLASS)
    id_findings = list(check_ids(inspections, num_classes=num_classes, ignore_value=dataset.ignore_value))
    yield from id_findings
    for name, items in inspections.items():
        yield from check_ignored(name, items, counts[name], ignore_value=dataset.ignore_value)
    if not any(finding.kind in EXPLAIN_ABSENT_CLASSES for finding in id_findings):
        yield from check_classes(counts, dataset.classes.names)
    yield from check_duplicates(inspections)
