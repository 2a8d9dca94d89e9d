"""Findings on label ids: ids out of range, ids shifted by one, and a foreground stored as the ignore value.

Shape shorthand: K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection
from segvit.errors import listed


def check_ids(
    inspections: Mapping[str, Sequence[Inspection]], *, num_classes: int, ignore_value: int
) -> Iterator[Finding]:
    """Wrong ids. All splits are checked together, since they use one set of ids."""
    present = {label_id for items in inspections.values() for it in items for label_id in it.ids}
    allowed = {*range(num_classes), ignore_value}
    wrong = present - allowed
    if wrong == {num_classes} and (0 not in present or ignore_value not in present):
        yield Finding("shifted_ids", "error", "", _shift_message(present, num_classes, ignore_value))
    elif wrong:
        for split, items in inspections.items():
            yield from _out_of_range(split, items, allowed, num_classes, ignore_value)
    elif present == {0, ignore_value} and num_classes > 1:
        message = (
            f"only ids 0 and {ignore_value} occur, and {ignore_value} is the ignore value: if it marks the foreground, "
            f"check_dataset.py FOLDER --convert-to NEW_FOLDER --map-ids {ignore_value}=1 makes it class 1"
        )
        yield Finding("ignored_foreground", "error", "", message)


def _shift_message(present: set[int], num_classes: int, ignore_value: int) -> str:
    if 0 not in present:
        return (
            f"ids run from {min(present)} to {num_classes}, but {num_classes} classes have the ids 0 to "
            f"{num_classes - 1}: they are shifted by one; check_dataset.py FOLDER --convert-to NEW_FOLDER "
            "--map-ids from-one subtracts 1, in datasets hf:... DATASETS.HF_REDUCE_LABELS True"
        )
    return (
        f"ids run from 0 to {num_classes}, one more than there are classes, and the ignore value {ignore_value} never "
        f"occurs. Either 0 is an ignored background (check_dataset.py FOLDER --convert-to NEW_FOLDER "
        f"--map-ids from-one makes 0 {ignore_value} and subtracts 1 from the others, in datasets hf:... "
        "DATASETS.HF_REDUCE_LABELS True does), or "
        f"{num_classes} is void (--map-ids {num_classes}=ignore), or the list lacks a class"
    )


def _out_of_range(
    split: str, inspections: Sequence[Inspection], allowed: set[int], num_classes: int, ignore_value: int
) -> Iterator[Finding]:
    wrong_ids = [(it, sorted(set(it.ids) - allowed)) for it in inspections]
    files = tuple(f"{it.pair.label_map}: ids {listed(ids, 5)}" for it, ids in wrong_ids if ids)
    if files:
        message = (
            f"label maps have ids that are neither in 0 to {num_classes - 1} nor the ignore value {ignore_value}: "
            f"correct them, or add the missing classes to the list{_hint(wrong_ids, num_classes)}"
        )
        yield Finding("ids_out_of_range", "error", split, message, files)


def _hint(wrong_ids: Sequence[tuple[Inspection, list[int]]], num_classes: int) -> str:
    """As in PASCAL VOC, 0 may be a background that the list lacks, and object borders the ignore value."""
    is_next = {label_id for _, ids in wrong_ids for label_id in ids} == {num_classes}
    return f"; is 0 a background that the list lacks, or {num_classes} void?" if is_next else ""
