"""Findings on images that occur twice: what is in training and in validation makes the figures too good.

Shape shorthand in this module: M, N: images of two splits; T: values of a thumbnail.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import numpy as np

from segvit.dataset_tools.doctor.finding import Finding
from segvit.dataset_tools.doctor.inspection import Inspection

# Root mean square difference of two thumbnails, in grey levels. On CamVid the same frame saved again as a JPEG of
# quality 30 differs by 1.1, and two frames a second apart of a car at rest by 3.7.
MAX_DIFFERENCE = 1.5
# Below this standard deviation a thumbnail is nearly one colour, and tells images apart no more.
MIN_CONTRAST = 10.0
ROWS_AT_ONCE = 1024


def check_duplicates(inspections: Mapping[str, Sequence[Inspection]]) -> Iterator[Finding]:
    """Images that occur twice, within a split (a warning) and in two splits (an error where identical)."""
    for split, items in inspections.items():
        yield from _within(split, items)
    for first, second in combinations(inspections, 2):
        yield from _between(first, inspections[first], second, inspections[second])


def _within(split: str, inspections: Sequence[Inspection]) -> Iterator[Finding]:
    seen: dict[bytes, Inspection] = {}
    files = []
    for inspection in inspections:
        if inspection.digest:
            first = seen.setdefault(inspection.digest, inspection)
            if first is not inspection:
                files.append(_pair(first, inspection))
    if files:
        yield Finding("repeated_image", "warning", split, "images are identical to another one", tuple(files))


def _between(
    first: str, first_items: Sequence[Inspection], second: str, second_items: Sequence[Inspection]
) -> Iterator[Finding]:
    where = f"{first} and {second}"
    by_digest = {it.digest: it for it in first_items if it.digest}
    twins = [it for it in second_items if it.digest in by_digest]
    if twins:
        files = tuple(_pair(by_digest[it.digest], it) for it in twins)
        yield Finding("duplicates", "error", where, "images are in both, pixel by pixel the same", files)
    identical = {it.digest for it in twins}
    others = [it for it in second_items if it.digest not in identical]
    files = tuple(_pair(one, other) for one, other in _similar(first_items, others))
    if files:
        yield Finding("near_duplicates", "warning", where, "images look the same in both, as if saved again", files)


def _similar(first: Sequence[Inspection], second: Sequence[Inspection]) -> Iterator[tuple[Inspection, Inspection]]:
    """For each image of the second split that has one, the nearest of the first that looks the same."""
    first, second = _with_contrast(first), _with_contrast(second)
    if not first or not second:
        return
    known = _thumbnails(first)  # (M, T)
    known_squares = (known**2).sum(axis=1)
    for start in range(0, len(second), ROWS_AT_ONCE):
        items = second[start : start + ROWS_AT_ONCE]
        asked = _thumbnails(items)  # (N, T)
        squares = (asked**2).sum(axis=1)[:, None] + known_squares - 2 * asked @ known.T  # (N, M)
        nearest = squares.argmin(axis=1)
        for item, index, square in zip(items, nearest, squares.min(axis=1)):
            if square <= MAX_DIFFERENCE**2 * known.shape[1]:
                yield first[index], item


def _with_contrast(inspections: Sequence[Inspection]) -> list[Inspection]:
    return [it for it in inspections if it.thumbnail is not None and it.thumbnail.std() >= MIN_CONTRAST]


def _thumbnails(inspections: Sequence[Inspection]) -> np.ndarray:
    """(N, T) float32, around 0: the squares of larger numbers would lose what thumbnails differ by."""
    return np.stack([it.thumbnail for it in inspections]).reshape(len(inspections), -1).astype(np.float32) - 128


def _pair(first: Inspection, second: Inspection) -> str:
    return f"{first.pair.image} = {second.pair.image}"
