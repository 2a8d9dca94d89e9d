"""Class counts per split, and findings on them: mostly ignored labels and classes without a pixel.

Shape shorthand: K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection

# A higher fraction of ignored pixels in a split is reported.
MAX_IGNORED_FRACTION = 0.5
# How many absent classes a message lists; the table of classes has all.
MAX_LISTED_CLASSES = 20


@dataclass(frozen=True)
class ClassCounts:
    """Counts of one split: pixels and images of each class, (K,) int64; ignored pixels and all pixels."""

    pixels: np.ndarray
    images: np.ndarray
    ignored: int
    total: int

    @property
    def ignored_fraction(self) -> float:
        return self.ignored / max(self.total, 1)

    @property
    def class_frequencies(self) -> np.ndarray:
        """(K,) fractions of the labelled pixels."""
        return self.pixels / max(self.pixels.sum(), 1)


def count_classes(inspections: Sequence[Inspection], *, num_classes: int, ignore_value: int) -> ClassCounts:
    """Count over the readable label maps; ids out of range count in the total only."""
    pixels, images = np.zeros((2, num_classes), dtype=np.int64)
    ignored = total = 0
    for inspection in inspections:
        for label_id, count in inspection.ids.items():
            total += count
            if label_id == ignore_value:
                ignored += count
            elif 0 <= label_id < num_classes:
                pixels[label_id] += count
                images[label_id] += 1
    return ClassCounts(pixels, images, ignored, total)


def check_ignored(
    split: str, inspections: Sequence[Inspection], counts: ClassCounts, *, ignore_value: int
) -> Iterator[Finding]:
    """Label maps without a labelled pixel, and a split with mostly ignored pixels."""
    empty = tuple(str(it.pair.label_map) for it in inspections if set(it.ids) == {ignore_value})
    if empty:
        yield Finding("unlabelled", "warning", split, "label maps contain only ignored pixels", empty)
    if counts.ignored_fraction > MAX_IGNORED_FRACTION and len(empty) < len(inspections):
        message = f"{100 * counts.ignored_fraction:.0f} % of the pixels have the ignore value {ignore_value}"
        yield Finding("mostly_ignored", "warning", split, message)


def check_classes(counts: Mapping[str, ClassCounts], names: Sequence[str]) -> Iterator[Finding]:
    """Classes without a pixel in a split: they cannot be learned or measured."""
    for split, split_counts in counts.items():
        absent = [f"{class_id} {name}" for class_id, name in enumerate(names) if not split_counts.pixels[class_id]]
        if len(names) > 1 and len(absent) == len(names) - 1:
            (present,) = set(range(len(names))) - {class_id for class_id, n in enumerate(split_counts.pixels) if not n}
            message = (
                f"only class {present} {names[present]} occurs: a model that predicts it everywhere reaches an mIoU of "
                "100; add images of other classes, or label their pixels"
            )
            yield Finding("single_class", "warning", split, message)
        elif absent and len(absent) < len(names):
            listed = "; ".join(absent[:MAX_LISTED_CLASSES]) + ("; ..." if len(absent) > MAX_LISTED_CLASSES else "")
            message = f"{len(absent)} of {len(names)} classes have no pixel: {listed}{_hint(split_counts)}"
            yield Finding("absent_classes", "warning", split, message)


def _hint(counts: ClassCounts) -> str:
    """If only the first or only the last class is absent, ids and class list may be shifted by one."""
    absent = list((counts.pixels == 0).nonzero()[0])
    if absent == [0]:
        return "; do ids start at 1 instead of 0?"
    return "; are all ids too small by one for this list?" if absent == [len(counts.pixels) - 1] else ""
