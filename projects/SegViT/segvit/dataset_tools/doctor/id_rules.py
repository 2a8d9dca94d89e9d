"""Findings on ids: out of range, shifted by one, and a foreground that counts as ignored.

Shape shorthand in this module: K: classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection


def check_ids(
    inspections: Mapping[str, Sequence[Inspection]], *, num_classes: int, ignore_value: int
) -> Iterator[Finding]:
    """What is wrong with the ids. All splits are judged together, since they were labelled with one set of ids."""
    found = {label_id for items in inspections.values() for it in items for label_id in it.ids}
    allowed = {*range(num_classes), ignore_value}
    wrong = found - allowed
    if wrong == {num_classes} and (0 not in found or ignore_value not in found):
        yield Finding("shifted_ids", "error", "", _shift_message(found, num_classes, ignore_value))
    elif wrong:
        for split, items in inspections.items():
            yield from _out_of_range(split, items, allowed, num_classes, ignore_value)
    elif found == {0, ignore_value} and num_classes > 1:
        message = (
            f"no other ids than 0 and {ignore_value} occur, and {ignore_value} does not count: if it marks the "
            "foreground, write class ids (1, ...) in its place"
        )
        yield Finding("ignored_foreground", "error", "", message)


def _shift_message(found: set[int], num_classes: int, ignore_value: int) -> str:
    if 0 not in found:
        return (
            f"ids run from {min(found)} to {num_classes}, while {num_classes} classes have the ids 0 to "
            f"{num_classes - 1}: they are shifted by one; subtract 1"
        )
    return (
        f"ids run from 0 to {num_classes}, one more than there are classes, and the ignore value {ignore_value} never "
        f"occurs. Either 0 is background that does not count (write {ignore_value} for 0 and subtract 1 from the "
        f"others), or {num_classes} is void (write {ignore_value} for it), or a class is missing in the list"
    )


def _out_of_range(
    split: str, inspections: Sequence[Inspection], allowed: set[int], num_classes: int, ignore_value: int
) -> Iterator[Finding]:
    concerned = [(it, sorted(set(it.ids) - allowed)) for it in inspections]
    files = tuple(f"{it.pair.label_map}: ids {_short(ids)}" for it, ids in concerned if ids)
    if files:
        message = (
            f"label maps have ids that are neither in 0 to {num_classes - 1} nor the ignore value {ignore_value}: "
            f"correct them, or name the missing classes in the list{_hint(concerned, num_classes)}"
        )
        yield Finding("ids_out_of_range", "error", split, message, files)


def _hint(concerned: Sequence[tuple[Inspection, list[int]]], num_classes: int) -> str:
    """PASCAL VOC's habit, where the list leaves out the background: 0 is that, and borders have the ignore value."""
    is_next = {label_id for _, ids in concerned for label_id in ids} == {num_classes}
    return f"; is 0 background that the list does not name, or {num_classes} void?" if is_next else ""


def _short(ids: Sequence[int]) -> str:
    return ", ".join(map(str, ids[:5])) + (", ..." if len(ids) > 5 else "")
