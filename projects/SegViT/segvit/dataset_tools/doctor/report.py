"""The diagnosis as text and as JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tabulate import tabulate

from segvit.dataset_tools.doctor.examination import Diagnosis
from segvit.dataset_tools.doctor.inspection import Inspection


def describe(diagnosis: Diagnosis) -> str:
    """A table of the splits, one of the classes, and the findings."""
    subject = diagnosis.subject
    title = f"{subject.title}: {len(subject.classes.names)} classes, ignore value {subject.ignore_value}"
    errors = sum(finding.severity == "error" for finding in diagnosis.findings)
    warnings = len(diagnosis.findings) - errors
    verdict = f"errors: {errors}, warnings: {warnings}" if diagnosis.findings else "nothing found"
    findings = [finding.describe() for finding in diagnosis.findings]
    return "\n\n".join([title, _split_table(diagnosis), _class_table(diagnosis), *findings, verdict])


def as_json(diagnosis: Diagnosis) -> dict[str, Any]:
    """Everything that the text says, with all files named."""
    names = diagnosis.subject.classes.names
    return {
        "data_set": diagnosis.subject.title,
        "classes": list(names),
        "ignore_value": diagnosis.subject.ignore_value,
        "splits": {
            split: {
                "pairs": len(diagnosis.inspections[split]),
                "ignored_share": counts.ignored_share,
                "pixels": dict(zip(names, counts.pixels.tolist())),
                "images": dict(zip(names, counts.images.tolist())),
            }
            for split, counts in diagnosis.counts.items()
        },
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "split": finding.split,
                "message": finding.message,
                "files": list(finding.files),
            }
            for finding in diagnosis.findings
        ],
    }


def _split_table(diagnosis: Diagnosis) -> str:
    rows = [
        (split, len(items), _sizes(items), 100 * diagnosis.counts[split].ignored_share)
        for split, items in diagnosis.inspections.items()
    ]
    return tabulate(rows, ("split", "pairs", "image size", "% ignored"), "simple", floatfmt=".1f")


def _sizes(inspections: list[Inspection]) -> str:
    """The most frequent size, and how many others there are."""
    sizes = Counter(it.image_size for it in inspections if not it.image_error)
    if not sizes:
        return "-"
    (height, width), _ = sizes.most_common(1)[0]
    return f"{width} x {height}" + (f" and {len(sizes) - 1} others" if len(sizes) > 1 else "")


def _class_table(diagnosis: Diagnosis) -> str:
    headers = ["id", "class"]
    for split in diagnosis.counts:
        headers += [f"% of {split}", "images"]
    rows = []
    for class_id, name in enumerate(diagnosis.subject.classes.names):
        row: list[object] = [class_id, name]
        for counts in diagnosis.counts.values():
            row += [100 * counts.pixel_shares[class_id], int(counts.images[class_id])]
        rows.append(row)
    return tabulate(rows, headers, "simple", floatfmt=".2f")
