"""Findings on duplicate images: those in both training and validation inflate the metrics.

Shape shorthand: M and N images of two splits, T values of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection

# Near duplicates differ by less: root mean square difference of two thumbnails, in grey levels. On CamVid a frame saved
# again as a JPEG of quality 30 differs by 1.1, two frames one second apart from a standing car by 3.7.
MAX_DIFFERENCE = 1.5
# Thumbnails with a lower standard deviation are nearly uniform and cannot distinguish images.
MIN_CONTRAST = 10.0
# Images compared at once, to bound the memory of the distance matrix.
BATCH_SIZE = 1024


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
    first, first_thumbnails = _thumbnails(first)  # (M, T)
    second, second_thumbnails = _thumbnails(second)  # (N, T)
    if not first or not second:
        return
    first_norms = (first_thumbnails**2).sum(axis=1)
    for start in range(0, len(second), BATCH_SIZE):
        batch = second_thumbnails[start : start + BATCH_SIZE]
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab for all pairs at once.
        distances = (batch**2).sum(axis=1)[:, None] + first_norms - 2 * batch @ first_thumbnails.T  # (batch, M)
        for row, index in enumerate(distances.argmin(axis=1)):
            if distances[row, index] <= MAX_DIFFERENCE**2 * first_thumbnails.shape[1]:
                yield first[index], second[start + row]


def _thumbnails(inspections: Sequence[Inspection]) -> tuple[list[Inspection], np.ndarray]:
    """The inspections whose thumbnails have contrast, and those thumbnails (N, T) float32, centred at 0.

    Centring keeps the squares small: float32 would lose the differences between large ones.
    """
    usable = [(it, it.thumbnail) for it in inspections if it.thumbnail is not None]
    usable = [(it, thumbnail) for it, thumbnail in usable if thumbnail.std() >= MIN_CONTRAST]
    thumbnails = np.array([thumbnail.ravel() for _, thumbnail in usable], dtype=np.float32)
    return [it for it, _ in usable], thumbnails - 128


def _pair(first: Inspection, second: Inspection) -> str:
    return f"{first.pair.image} = {second.pair.image}"
