"""Findings on what the labels cover: ignored pixels, and classes without any.

Shape shorthand in this module: K: classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from segvit.dataset_tools.doctor.class_counts import ClassCounts
from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection

# More ignored pixels than this in a whole split are worth a look.
MAX_IGNORED_SHARE = 0.5
# How many absent classes a message names; the table of classes shows all.
MAX_CLASSES = 20


def check_ignored(
    split: str, inspections: Sequence[Inspection], counts: ClassCounts, *, ignore_value: int
) -> Iterator[Finding]:
    """Label maps from which nothing can be learnt, and a split most of whose pixels do not count."""
    empty = tuple(str(it.pair.label_map) for it in inspections if set(it.ids) == {ignore_value})
    if empty:
        yield Finding("unlabelled", "warning", split, "label maps hold ignored pixels alone", empty)
    if counts.ignored_share > MAX_IGNORED_SHARE and len(empty) < len(inspections):
        message = f"{100 * counts.ignored_share:.0f} % of the pixels have the ignore value {ignore_value}"
        yield Finding("mostly_ignored", "warning", split, message)


def check_classes(counts: Mapping[str, ClassCounts], names: Sequence[str]) -> Iterator[Finding]:
    """Classes without a pixel in a split; there is nothing to learn, or nothing to measure."""
    for split, count in counts.items():
        absent = [f"{class_id} {name}" for class_id, name in enumerate(names) if not count.pixels[class_id]]
        if absent and len(absent) < len(names):
            hint = _hint(count)
            named = "; ".join(absent[:MAX_CLASSES]) + ("; ..." if len(absent) > MAX_CLASSES else "")
            message = f"{len(absent)} of {len(names)} classes have no pixel: {named}{hint}"
            yield Finding("absent_classes", "warning", split, message)


def _hint(count: ClassCounts) -> str:
    """An id at either end that is never used may be a list that begins with another class than the labels do."""
    absent = list((count.pixels == 0).nonzero()[0])
    if absent == [0]:
        return "; do ids begin at 1 where they should at 0?"
    return "; are ids one too small for this list?" if absent == [len(count.pixels) - 1] else ""
