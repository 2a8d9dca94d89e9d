"""The new folder of an import: `write_dataset` and `write_report`.

Shape shorthand: K classes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segvit.dataset_tools.importing.class_plan import ClassPlan
from segvit.dataset_tools.importing.readers.labelme import embedded_image
from segvit.dataset_tools.importing.source import Skipped, SourceImage
from segvit.dataset_tools.near_duplicates import Fingerprint
from segvit.output_files import atomic_write_text, link_or_copy

SKIPPED_FILE, REPORT_FILE = "skipped.txt", "import.json"
# The order in which splits are listed; others follow.
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote and left out.

    Attributes:
        names: of the classes, by id.
        pixels: (K + 1,) of each class, and of ignored ones.
        folders: the new folder, or one for each fold.
        sizes: images of each split of each folder.
        skipped: images, objects and classes.
        notes: what was decided.
        ignore_value: the id of ignored pixels.
    """

    names: tuple[str, ...]
    pixels: np.ndarray
    folders: list[Path]
    sizes: list[dict[str, int]]
    skipped: list[Skipped]
    notes: list[str]
    ignore_value: int


@dataclass(frozen=True)
class Imported:
    """An image with its label map in the unfinished folder, its stem in the new one, and its pixels (K + 1,)."""

    image: SourceImage
    stem: str
    label_map: Path
    pixels: np.ndarray
    fingerprint: Fingerprint | None

    @property
    def file_name(self) -> str:
        """The image's name in the new folder."""
        return f"{self.stem}{Path(self.image.key).suffix}"


def write_dataset(imported: Sequence[Imported], splits: Sequence[str], plan: ClassPlan, folder: Path) -> None:
    """Write the layout of DATASETS.FOLDER, with links to the images, and the lists of the splits."""
    entries = [{"name": name, "color": list(color)} for name, color in zip(plan.names, plan.colors)]
    atomic_write_text(folder / "classes.json", json.dumps(entries, indent=1) + "\n")
    of_split: dict[str, list[str]] = {}
    for it, split in zip(imported, splits):
        if not split:
            continue
        image = folder / "images" / split / it.file_name
        image.parent.mkdir(parents=True, exist_ok=True)
        if it.image.is_embedded:
            image.write_bytes(embedded_image(it.image.path))
        else:
            link_or_copy(it.image.path, image)
        link_or_copy(it.label_map, folder / "annotations" / split / f"{it.stem}.png")
        of_split.setdefault(split, []).append(image.name)
    for split, names in of_split.items():
        atomic_write_text(folder / "splits" / f"{split}.txt", "".join(f"{name}\n" for name in sorted(names)))


def count_images(assignment: Sequence[str]) -> dict[str, int]:
    """The images of each split: train, val, test, and others by name."""
    counts = Counter(split for split in assignment if split)
    return {split: counts[split] for split in (*SPLITS, *sorted(set(counts) - set(SPLITS))) if counts[split]}


def write_report(report: ImportReport, title: str, imported: Sequence[Imported], folder: Path) -> None:
    """Write what was decided, where each image is from, and the list of what was skipped."""
    content = {
        "format": title,
        "notes": report.notes,
        "ignore_value": report.ignore_value,
        "classes": dict(zip(report.names, report.pixels.tolist())),
        "splits": report.sizes,
        "images": {it.file_name: it.image.key for it in imported},
        "skipped": len(report.skipped),
    }
    atomic_write_text(folder / REPORT_FILE, json.dumps(content, indent=1) + "\n")
    if report.skipped:
        atomic_write_text(folder / SKIPPED_FILE, "".join(f"{it}\n" for it in report.skipped))
