"""A `DatasetReport` as text, as JSON, and as figures: class histogram and contact sheet."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from segvit.data.label_reading import read_levels
from segvit.dataset_tools.doctor.dataset_report import DatasetReport
from segvit.dataset_tools.doctor.inspection import RGB, Inspection
from segvit.images import ImageFormat
from segvit.visualization import draw_class_histogram, draw_contact_sheet, make_cell


def describe(report: DatasetReport) -> str:
    """A table of the splits, a table of the classes, and the findings."""
    dataset = report.dataset
    title = f"{dataset.title}: {len(dataset.classes.names)} classes, ignore value {dataset.ignore_value}"
    errors = sum(finding.severity == "error" for finding in report.findings)
    warnings = len(report.findings) - errors
    verdict = f"errors: {errors}, warnings: {warnings}" if report.findings else "nothing found"
    findings = [finding.describe() for finding in report.findings]
    return "\n\n".join([title, _split_table(report), _class_table(report), *findings, verdict])


def as_json(report: DatasetReport) -> dict[str, Any]:
    """The content of report.json: the tables and the findings, with all files listed."""
    names = report.dataset.classes.names
    return {
        "data_set": report.dataset.title,
        "classes": list(names),
        "ignore_value": report.dataset.ignore_value,
        "splits": {
            split: {
                "pairs": len(report.inspections[split]),
                "ignored_share": counts.ignored_fraction,
                "pixels": dict(zip(names, counts.pixels.tolist())),
                "images": dict(zip(names, counts.images.tolist())),
            }
            for split, counts in report.counts.items()
        },
        "findings": [
            {
                "kind": finding.kind,
                "severity": finding.severity,
                "split": finding.split,
                "message": finding.message,
                "files": list(finding.files),
            }
            for finding in report.findings
        ],
    }


def draw_histogram(report: DatasetReport, output: Path) -> None:
    """Draw the class frequencies of each split into a PNG."""
    frequencies = {split: counts.class_frequencies for split, counts in report.counts.items()}
    draw_class_histogram(frequencies, report.dataset.classes.names, output)


def draw_samples(report: DatasetReport, output: Path, *, num_images: int, image_format: ImageFormat = RGB) -> bool:
    """Draw label maps over evenly spaced images into a PNG. Returns False, without a file, if no pair is sound."""
    sound = [(split, it.pair) for split, items in report.inspections.items() for it in items if it.is_sound]
    chosen = np.linspace(0, len(sound) - 1, min(num_images, len(sound))).round().astype(int)
    cells = [
        make_cell(
            image_format.to_rgb(image_format.read(pair.image)),
            read_levels(pair.label_map),
            f"{split}/{pair.stem}",
        )
        for split, pair in (sound[index] for index in chosen)
    ]
    if cells:
        draw_contact_sheet(cells, report.dataset.classes.names, report.dataset.classes.colors, output)
    return bool(cells)


def _split_table(report: DatasetReport) -> str:
    rows = [
        (split, len(items), _sizes(items), 100 * report.counts[split].ignored_fraction)
        for split, items in report.inspections.items()
    ]
    return tabulate(rows, ("split", "pairs", "image size", "% ignored"), "simple", floatfmt=".1f")


def _sizes(inspections: list[Inspection]) -> str:
    """The most frequent image size, and the number of other sizes."""
    sizes = Counter(it.image_size for it in inspections if not it.image_error)
    if not sizes:
        return "-"
    (height, width), _ = sizes.most_common(1)[0]
    return f"{width} x {height}" + (f" and {len(sizes) - 1} others" if len(sizes) > 1 else "")


def _class_table(report: DatasetReport) -> str:
    headers = ["id", "class"]
    for split in report.counts:
        headers += [f"% of {split}", "images"]
    rows = []
    for class_id, name in enumerate(report.dataset.classes.names):
        row: list[int | float | str] = [class_id, name]
        for counts in report.counts.values():
            row += [100 * counts.class_frequencies[class_id], int(counts.images[class_id])]
        rows.append(row)
    return tabulate(rows, headers, "simple", floatfmt=".2f")
