"""Findings on duplicate images: those in both training and validation inflate the metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection
from segvit.dataset_tools.near_duplicates import similar


def check_duplicates(inspections: Mapping[str, Sequence[Inspection]]) -> Iterator[Finding]:
    """Duplicates within a split (a warning) and between splits (an error if identical, a warning if nearly so)."""
    for split, items in inspections.items():
        yield from _within(split, items)
    for first, second in combinations(inspections, 2):
        yield from _between(first, inspections[first], second, inspections[second])


def _within(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    first_with_digest: dict[bytes, Inspection] = {}
    files = []
    for inspection in inspections:
        if inspection.digest:
            first = first_with_digest.setdefault(inspection.digest, inspection)
            if first is not inspection:
                files.append(_pair(first, inspection))
    if files:
        yield Finding("repeated_image", "warning", split, "images are identical to another one", tuple(files))


def _between(
    first: str, first_items: Sequence[Inspection], second: str, second_items: Sequence[Inspection]
) -> Iterator[Finding]:
    splits = f"{first} and {second}"
    by_digest = {it.digest: it for it in first_items if it.digest}
    duplicates = [it for it in second_items if it.digest in by_digest]
    if duplicates:
        files = tuple(_pair(by_digest[it.digest], it) for it in duplicates)
        yield Finding("duplicates", "error", splits, "images are in both splits, identical in every pixel", files)
    identical = {it.digest for it in duplicates}
    others = [it for it in second_items if it.digest not in identical]
    files = tuple(_pair(one, other) for one, other in _similar(first_items, others))
    if files:
        message = "images are nearly identical in both splits, as if saved again"
        yield Finding("near_duplicates", "warning", splits, message, files)


def _similar(first: Sequence[Inspection], second: Sequence[Inspection]) -> Iterator[tuple[Inspection, Inspection]]:
    """Pairs of nearly identical images: each image of the second split with its nearest one of the first."""
    first, first_thumbnails = _thumbnails(first)
    second, second_thumbnails = _thumbnails(second)
    for position, nearest_first in similar(first_thumbnails, second_thumbnails):
        yield first[nearest_first[0]], second[position]


def _thumbnails(inspections: Sequence[Inspection]) -> tuple[list[Inspection], list[np.ndarray]]:
    """The inspections that have a thumbnail, and the thumbnails."""
    usable = [(it, it.thumbnail) for it in inspections if it.thumbnail is not None]
    return [it for it, _ in usable], [thumbnail for _, thumbnail in usable]


def _pair(first: Inspection, second: Inspection) -> str:
    return f"{first.pair.image} = {second.pair.image}"
